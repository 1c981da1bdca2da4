// Calls the JavaScript package for the tests: one JSON request a line in, one JSON answer a line out.
// {"call": "sign"|"verify"|"resign", …} -> {"ok": result} or {"exception": first line}. Values come as JSON text,
// parsed here, so that the package sees what JSON.parse makes of the bytes on the wire.
'use strict';

const readline = require('readline');
const { sign, verify, resign } = require('./package_notary');

const calls = {
  sign: ({ values, key }) => sign(JSON.parse(values), key),
  verify: ({ signature, values }) => verify(signature, JSON.parse(values)),
  resign: ({ signature, rewritten, values, key }) => resign(signature, rewritten, JSON.parse(values), key),
};

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    let answer;
    try {
      answer = { ok: await calls[request.call](request) };
    } catch (error) {
      answer = { exception: String((error && error.message) || error).split('\n')[0] };
    }
    process.stdout.write(JSON.stringify(answer) + '\n');
  }
}

main();
