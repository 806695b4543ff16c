// generateImage of the AI SDK, by the provider that the order names.
import { readFile } from "node:fs/promises";
import { fault, order, tell } from "./order.mjs";

const packages = {
  6: ["ai-6", "ai-6-openai", "ai-6-openai-compatible"],
  7: ["ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible"],
}[order.major ?? 7];
const [{ generateImage }, { createOpenAI }, { createOpenAICompatible }] = await Promise.all(
  packages.map((name) => import(name)),
);

const { base_url: baseURL, key: apiKey, model = "gpt-image-1", prompt: text, images, mask, more = {} } = order;
const providers = {
  openai: () => createOpenAI({ baseURL, apiKey }),
  compatible: () => createOpenAICompatible({ name: "wan", baseURL, apiKey }),
};
const prompt = {
  text,
  images: await Promise.all(images.map((file) => readFile(file))),
  ...(mask ? { mask: await readFile(mask) } : {}),
};

try {
  const answer = await generateImage({ model: providers[order.provider]().imageModel(model), prompt, ...more });
  tell({
    pictures: answer.images.map((image) => image.base64),
    types: answer.images.map((image) => image.mediaType),
    warnings: answer.warnings,
  });
} catch (error) {
  fault(error);
}
