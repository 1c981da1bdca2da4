// The public JavaScript package behind three functions, for the driver and for the party's sidecar.
'use strict';

const zlib = require('zlib');
const Notary = require('@shareandcharge/ocn-notary').default;

const GZIP_START = Buffer.from([0x1f, 0x8b, 0x08]);

// Signs the values object and gives the text of the signature, in the package's own container (Brotli).
async function sign(values, key) {
  const notary = new Notary();
  await notary.sign(values, key);
  return notary.serialize();
}

// {valid, error, chain (newest first), before (path to the value that the origin signed)}. Throws as the package does.
async function verify(signature, values) {
  const notary = await Notary.deserialize(signature);
  // Read before verifying, which reverses the list in place.
  const newestFirst = [...notary.rewrites].reverse();
  const chain = [notary, ...newestFirst].map((one) => one.signatory);
  const before = Object.assign({}, ...newestFirst.map((one) => one.rewrittenFields));
  const { isValid, error } = notary.verify(values);
  return { valid: isValid, error: error || null, chain, before };
}

// Stashes the values that change and signs the new ones: what a node built on the package would do.
async function resign(signature, rewritten, after, key) {
  const notary = await Notary.deserialize(signature);
  notary.stash(rewritten);
  await notary.sign(after, key);
  return notary.serialize();
}

// The package reads and writes Brotli only; a peer may speak gzip.
function toBrotli(signature) {
  const packed = Buffer.from(signature, 'base64');
  if (!packed.subarray(0, 3).equals(GZIP_START)) return signature;
  return zlib.brotliCompressSync(zlib.gunzipSync(packed)).toString('base64');
}

function toGzip(signature) {
  return zlib.gzipSync(zlib.brotliDecompressSync(Buffer.from(signature, 'base64'))).toString('base64');
}

module.exports = { sign, verify, resign, toBrotli, toGzip };
