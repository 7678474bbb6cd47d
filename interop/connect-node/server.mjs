// A stock Connect server of Node (`connect-node`) that serves the conformance suite's service.
//
//   node server.mjs 1.1|2 DESCRIPTORS
//
// DESCRIPTORS is an encoded google.protobuf.FileDescriptorSet with that service. The program prints
// its port, and ends when its standard input does.

import { readFileSync } from "node:fs";
import { createServer as createServer1 } from "node:http";
import { createServer as createServer2 } from "node:http2";
import { create, createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";

const [version, descriptors] = process.argv.slice(2);
const registry = createFileRegistry(
  fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)),
);
const service = registry.getService("connectrpc.conformance.v1.ConformanceService");
const requestInfo = registry.getMessage(
  "connectrpc.conformance.v1.ConformancePayload.RequestInfo",
);

function appendAll(headers, definitions) {
  for (const { name, value } of definitions) {
    value.forEach((one) => headers.append(name, one));
  }
}

/** Waits, or fails when the caller does not wait any more. */
const delay = (milliseconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });

async function respond({ responseDefinition: definition }, context) {
  appendAll(context.responseHeader, definition.responseHeaders);
  appendAll(context.responseTrailer, definition.responseTrailers);
  await delay(definition.responseDelayMs, context.signal);
  const timeout = context.timeoutMs();
  const info = create(requestInfo, {
    requestHeaders: [...context.requestHeader].map(([name, value]) => ({ name, value: [value] })),
    timeoutMs: timeout === undefined ? undefined : BigInt(Math.round(timeout)),
    connectGetInfo: context.requestMethod === "GET" ? {} : undefined,
  });
  const { case: kind, value } = definition.response;
  if (kind === "error") {
    const details = [{ desc: requestInfo, value: info }];
    throw new ConnectError(value.message, value.code, undefined, details);
  }
  return { payload: { data: value, requestInfo: info } };
}

const handler = connectNodeAdapter({
  routes: (router) => router.service(service, { unary: respond, idempotentUnary: respond }),
  jsonOptions: { registry },
  // gzip for everything, as far as the client reads it.
  compressMinBytes: 0,
});
const server = version === "2" ? createServer2(handler) : createServer1(handler);
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
