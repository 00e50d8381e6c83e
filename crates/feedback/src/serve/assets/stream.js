// An answer that comes piece by piece, as server-sent events.

import { Refused, send } from "./session.js";

/** A model that says nothing for so long has gone away, in milliseconds. */
const PATIENCE = 120_000;

/** Asks the model; tells each piece, and gives what came in the end. */
export async function ask(body, onToken, signal) {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]);
  const response = await send("POST", "/api/live", body, patience);
  if (!response.ok) {
    const { error } = await response.json().catch(() => ({}));
    throw new Refused(response.status, error?.code ?? "server", error?.message ?? response.statusText);
  }
  let request = null;
  for await (const { name, data } of events(response.body)) {
    if (name === "start") ({ request } = data);
    if (name === "token") onToken(data);
    if (name === "done") return { request, ...data };
    if (name === "error") throw new Refused(200, data.code, data.message);
  }
  throw new Refused(0, "offline", "it broke off");
}

/** The events of a stream: lines `event:` and `data:`, ended by an empty one. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const blocks = (rest + part.value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parse(block);
      if (event) yield event;
    }
  }
}

function parse(block) {
  const fields = block.split(/\r?\n/).map((line) => /^(event|data): ?(.*)$/.exec(line));
  const all = (name) => fields.filter((it) => it?.[1] === name).map((it) => it[2]);
  const data = all("data").join("\n");
  return data === "" ? null : { name: all("event")[0] ?? "message", data: JSON.parse(data) };
}
