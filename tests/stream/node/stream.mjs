// A streamed edit by OpenAI's npm package: `node stream.mjs BASE_URL KEY PICTURE PROMPT SECONDS`.
// Prints one line of JSON. The deadline of SECONDS is the package's own.
import { readFile } from "node:fs/promises";
import OpenAI, { toFile } from "openai";

const [baseURL, apiKey, picture, prompt, seconds] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 1000 * Number(seconds) });
const image = await toFile(await readFile(picture), "a.png", { type: "image/png" });

try {
  const stream = await client.images.edit({ image, prompt, model: "gpt-image-1", stream: true });
  const events = [];
  for await (const event of stream) events.push(event);
  console.log(JSON.stringify({ events }));
} catch (error) {
  console.log(JSON.stringify({
    name: error.constructor.name,
    status: error.status,
    code: error.code,
    type: error.type,
    message: error.message,
  }));
}
