// Writes the bodies in node.jsonl, as programs in JavaScript send them: node write.mjs > node.jsonl
import { gzipSync } from "node:zlib";

const at = new Date(Date.UTC(2024, 4, 1, 12, 30));
const order = { orderId: "o-1", totalCents: 700, placedAt: at };
const event = { specversion: "1.0", type: "com.example.Order", source: "/node", id: "n-1" };
const json = (value) => Buffer.from(JSON.stringify(value));
const put = (name, reader, body) =>
  console.log(JSON.stringify({ name, reader, base64: Buffer.from(body).toString("base64") }));

put("Date", "camel", json(order));
put("undefined", "camel", json({ ...order, note: undefined }));
put("null", "camel", json({ ...order, note: null, tags: null }));
put("getTime", "ms", json({ ...order, placedAt: at.getTime() }));
put("seconds", "lax", json({ ...order, placedAt: at.getTime() / 1000 }));
put("array of parts", "parts", json({ ...order, placedAt: [2024, 5, 1, 12, 30] }));
put("JSON in a text", "nested", json({ order: JSON.stringify(order) }));
put("number in a text", "lax", json({ ...order, totalCents: "700" }));
put("BigInt as text", "lax", json({ ...order, totalCents: 700n.toString() }));
put("NaN", "camel", json({ ...order, totalCents: NaN }));
put("emoji", "camel", json({ ...order, note: "😀" }));
put("half of an emoji", "camel", json({ ...order, note: "😀".slice(0, 1) }));
put("half of an emoji in an event", "event", json({ ...event, data: { ...order, note: "😀".slice(1) } }));
put("Latin-1", "camel", Buffer.from(JSON.stringify({ ...order, note: "Zoë" }), "latin1"));
put("UTF-16LE", "camel", Buffer.from(JSON.stringify(order), "utf16le"));
put("BOM", "camel", Buffer.from("\ufeff" + JSON.stringify(order)));
put("gzip", "gzip", gzipSync(json(order)));
put("not compressed", "gzip", json(order));
put("template string", "camel", Buffer.from(`{'orderId': '${order.orderId}'}`));
put("[object Object]", "camel", Buffer.from(String(order)));
put("empty", "camel", Buffer.alloc(0));
put("CloudEvent with null attributes", "event", json({ ...event, subject: null, time: null, data: order }));
put("CloudEvent with extensions", "event", json({ ...event, comexample: 7, traceparent: "00-1-2-01", data: order }));
put("CloudEvent with text", "event", json({ ...event, datacontenttype: "text/plain", data: JSON.stringify(order) }));
put("CloudEvent with data twice", "event", json({ ...event, data: order, data_base64: "e30=" }));
put("CloudEvent 0.3", "event", json({ ...event, specversion: "0.3", data: order }));
put("CloudEvent without an id", "event", json({ ...event, id: undefined, data: order }));
put("tag", "tagged", json({ type: "refunded", orderId: "o-1" }));
