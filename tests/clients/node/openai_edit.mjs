// images.edit of the npm package that the order names.
import { readFile } from "node:fs/promises";
import { fault, order, tell } from "./order.mjs";

const { default: OpenAI, toFile } = await import(order.package);
const client = new OpenAI({ baseURL: order.base_url, apiKey: order.key, ...order.client });
const files = await Promise.all(
  order.images.map(async (file) => toFile(await readFile(file), "a.png", { type: "image/png" })),
);
const asked = { image: files.length === 1 ? files[0] : files, prompt: order.prompt, ...order.more };

try {
  const answer = await client.images.edit(asked);
  if (answer.data) {
    tell({ pictures: answer.data.map((image) => image.b64_json) });
  } else {
    const events = [];
    for await (const event of answer) events.push(event);
    tell({ events });
  }
} catch (error) {
  fault(error);
}
