// Edits by OpenAI's npm package: `node edit.mjs BASE_URL KEY PICTURE HOW`; prints one line of JSON.
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import OpenAI, { toFile } from "openai";

const [baseURL, apiKey, picture, how] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const named = { model: "gpt-image-1", prompt: `node: ${how}`, size: "768x768" };
const typed = async () => toFile(await readFile(picture), "a.png", { type: "image/png" });

// A picture that is answered by its URL is fetched as any program would: without a key.
const pictureOf = async (image) =>
  image.b64_json ?? Buffer.from(await (await fetch(image.url)).arrayBuffer()).toString("base64");

const ways = {
  file: async () => ({ image: await typed() }),
  untyped: async () => ({ image: await toFile(await readFile(picture), "a.png") }),
  stream: async () => ({ image: createReadStream(picture) }),
  list: async () => ({ image: [await typed(), await typed()], n: 2 }),
  extra: async () => ({ image: await typed(), seed: 7, parameters: { prompt_extend: false } }),
  refused: async () => ({ image: await typed(), n: 11 }),
  broken: async () => ({ image: await typed() }),
  url: async () => ({ image: await typed(), response_format: "url" }),
};

try {
  const call = how === "generate"
    ? client.images.generate({ ...named, n: 2 })
    : client.images.edit({ ...named, ...(await ways[how]()) });
  const { data, response } = await call.withResponse();
  console.log(JSON.stringify({
    pictures: await Promise.all(data.data.map(pictureOf)),
    edit: response.headers.get("x-wan-edit-id"),
    request: data._request_id,
  }));
} catch (error) {
  console.log(JSON.stringify({
    name: error.constructor.name,
    status: error.status,
    code: error.code,
    type: error.type,
    param: error.param,
    message: error.message,
    request: error.requestID,
  }));
}
