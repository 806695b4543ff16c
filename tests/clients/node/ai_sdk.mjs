// generateImage of the AI SDK, by the provider that the order names.
import { readFile } from "node:fs/promises";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateImage } from "ai";
import { fault, order, tell } from "./order.mjs";

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
