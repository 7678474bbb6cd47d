// The stock Connect clients of Node (`connect-node`) and of browsers (`connect-web`, over fetch)
// against a server that serves the conformance suite's service.
//
//   node client.mjs http://127.0.0.1:PORT DESCRIPTORS [1.1]
//
// DESCRIPTORS is an encoded google.protobuf.FileDescriptorSet with that service. With `1.1`, only
// the transports over HTTP/1.1 are used. The program ends with an error at the first difference.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport as createNodeTransport } from "@connectrpc/connect-node";
import { createConnectTransport as createWebTransport } from "@connectrpc/connect-web";

const [baseUrl, descriptors, onlyVersion] = process.argv.slice(2);
const registry = createFileRegistry(
  fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)),
);
const service = registry.getService("connectrpc.conformance.v1.ConformanceService");
const requestInfo = registry.getMessage(
  "connectrpc.conformance.v1.ConformancePayload.RequestInfo",
);

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A request that defines the response of the service. */
const defined = (text, more = {}) => ({
  responseDefinition: {
    response: { case: "responseData", value: encoder.encode(text) },
    ...more,
  },
});

/** What the server saw of a header. */
const seen = (payload, name) =>
  payload.requestInfo.requestHeaders.find((header) => header.name === name)?.value;

async function failure(call) {
  try {
    await call;
  } catch (error) {
    return ConnectError.from(error);
  }
  throw new assert.AssertionError({ message: "the call should have failed" });
}

const cases = {
  async "a message and its metadata travel both ways"(client) {
    let headers, trailers;
    const definition = {
      responseHeaders: [{ name: "x-response", value: ["1", "2"] }],
      responseTrailers: [{ name: "x-after", value: ["3"] }],
    };
    const { payload } = await client.unary(defined("hello, wörld", definition), {
      headers: { "x-request": "why" },
      onHeader: (map) => (headers = map),
      onTrailer: (map) => (trailers = map),
    });
    assert.equal(decoder.decode(payload.data), "hello, wörld");
    assert.deepEqual(seen(payload, "x-request"), ["why"]);
    assert.equal(headers.get("x-response"), "1, 2");
    assert.equal(trailers.get("x-after"), "3");
  },

  async "large messages"(client) {
    const text = "x".repeat(3_000_000);
    const { payload } = await client.unary(defined(text));
    assert.equal(payload.data.length, text.length);
  },

  async "errors carry code, message and details"(client) {
    const error = await failure(
      client.unary({
        responseDefinition: {
          response: {
            case: "error",
            value: { code: Code.NotFound, message: "nothing such “here”\n", details: [] },
          },
          responseTrailers: [{ name: "x-after", value: ["3"] }],
        },
      }),
    );
    assert.equal(error.code, Code.NotFound);
    assert.equal(error.rawMessage, "nothing such “here”\n");
    assert.equal(error.metadata.get("x-after"), "3");
    const [info] = error.findDetails(requestInfo);
    assert.equal(info.requests.length, 1);
  },

  async "side-effect free methods are called with GET"(client) {
    const { payload } = await client.idempotentUnary(defined("cached"));
    assert.equal(decoder.decode(payload.data), "cached");
    const names = payload.requestInfo.connectGetInfo.queryParams.map(({ name }) => name);
    assert.ok(names.includes("message") && names.includes("connect"), names.join());
  },

  async "a deadline ends the call"(client) {
    const slow = defined("too late", { responseDelayMs: 60_000 });
    const error = await failure(client.unary(slow, { timeoutMs: 100 }));
    assert.equal(error.code, Code.DeadlineExceeded);
  },

  async "a cancelled call ends at once"(client) {
    const slow = defined("too late", { responseDelayMs: 60_000 });
    const abort = new AbortController();
    const call = client.unary(slow, { signal: abort.signal });
    setTimeout(() => abort.abort(), 50);
    assert.equal((await failure(call)).code, Code.Canceled);
  },

  async "methods that are left out are unimplemented"(client) {
    assert.equal((await failure(client.unimplemented({}))).code, Code.Unimplemented);
  },
};

const transports = {};
for (const useBinaryFormat of [true, false]) {
  const codec = useBinaryFormat ? "proto" : "json";
  const common = { baseUrl, useBinaryFormat, useHttpGet: true };
  // `Any` needs to know the types in it.
  const jsonOptions = { registry };
  transports[`fetch, ${codec}`] = createWebTransport({ ...common, jsonOptions });
  for (const httpVersion of onlyVersion ? [onlyVersion] : ["1.1", "2"]) {
    // With gzip in both directions, as Node's transport offers it by itself.
    const options = { ...common, httpVersion, jsonOptions, compressMinBytes: 0 };
    transports[`node, HTTP/${httpVersion}, ${codec}`] = createNodeTransport(options);
  }
}

for (const [transport, made] of Object.entries(transports)) {
  const client = createClient(service, made);
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run(client);
    } catch (error) {
      error.message = `${transport}: ${name}: ${error.message}`;
      throw error;
    }
  }
  console.log(`${transport}: ${Object.keys(cases).length} cases passed`);
}
process.exit(0);
