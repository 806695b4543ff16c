// The call of LibreChat's OpenAIImageTools.js: axios with a form-data form, image[] even for one.
import { readFile } from "node:fs/promises";
import axios from "axios";
import FormData from "form-data";
import { fault, order, tell } from "./order.mjs";

const form = new FormData();
form.append("model", "gpt-image-1");
form.append("prompt", order.prompt);
form.append("quality", "auto");
form.append("size", "auto");
for (const file of order.images) {
  form.append("image[]", await readFile(file), { filename: "ü.png", contentType: "image/png" });
}

try {
  const headers = { ...form.getHeaders(), Authorization: `Bearer ${order.key}` };
  const answer = await axios.post(`${order.base_url}/images/edits`, form, { headers });
  tell({ pictures: answer.data.data.map((image) => image.b64_json) });
} catch (error) {
  fault(error);
}
