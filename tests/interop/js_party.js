// Signs and verifies for a party over HTTP, with the JavaScript package in place of our library.
//
//   node js_party.js [port]       key: 0x-hex in JS_PARTY_KEY, else a new one
//
// Prints {"url", "address"} on one line once it listens on the loopback; when its standard input ends, prints
// {"signed", "verified", "refused"} and ends.
// GET /address -> {"address"}; POST /sign {"values", "container"} -> {"signature"};
// POST /verify {"signature", "values"} -> {"chain", "before"}, or 422 {"error", "reason"}.
'use strict';

const http = require('http');
const { ethers } = require('ethers');
const { sign, verify, toBrotli, toGzip } = require('./package_notary');

const BODY_LIMIT = 16 * 1024 * 1024;
const wallet = process.env.JS_PARTY_KEY ? new ethers.Wallet(process.env.JS_PARTY_KEY) : ethers.Wallet.createRandom();

const counts = { signed: 0, verified: 0, refused: 0 };

// The package's error texts and the reasons of ocn-notary.md 10 that they stand for.
const REASONS = [
  [/^Request has been modified/, 'hash'],
  [/^Signatories do not match/, 'signatory'],
  [/hash does not match/, 'rewrite_hash'],
  [/signatory incorrect/, 'rewrite_signatory'],
];

async function answerTo(request) {
  if (request.method === 'GET' && request.url === '/address') return [200, { address: wallet.address }];
  if (request.method !== 'POST') return [404, { error: 'no such call', reason: 'malformed' }];
  const asked = JSON.parse(await read(request));
  if (request.url === '/sign') {
    const signature = await sign(asked.values, wallet.privateKey);
    counts.signed += 1;
    return [200, { signature: asked.container === 'gzip' ? toGzip(signature) : signature }];
  }
  if (request.url === '/verify') {
    const { valid, error, chain, before } = await verify(toBrotli(asked.signature), asked.values);
    counts[valid ? 'verified' : 'refused'] += 1;
    if (valid) return [200, { chain, before }];
    const [, reason] = REASONS.find(([text]) => text.test(error)) || [null, 'malformed'];
    return [422, { error, reason }];
  }
  return [404, { error: 'no such call', reason: 'malformed' }];
}

async function read(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > BODY_LIMIT) throw new Error('the request is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

const server = http.createServer(async (request, response) => {
  let status, content;
  try {
    [status, content] = await answerTo(request);
  } catch (error) {
    // The package throws on what it cannot read; that is a refusal like any other.
    [status, content] = [422, { error: String((error && error.message) || error), reason: 'malformed' }];
  }
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(content));
});

server.listen(Number(process.argv[2] || 0), '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}`;
  process.stdout.write(JSON.stringify({ url, address: wallet.address }) + '\n');
});
process.stdin.resume();
process.stdin.on('end', () => process.stdout.write(JSON.stringify(counts) + '\n', () => process.exit(0)));
