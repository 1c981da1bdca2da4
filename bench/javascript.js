// Times the JavaScript package: one JSON request a line in, one JSON answer a line out.
// {"call": "verify"|"sign", "values": JSON text, "signature", "key", "seconds"} -> {"operations", "seconds"} of this
// process's CPU time. As in ours, work begins with the bytes of the message and ends with verdict or signature text.
'use strict';

const readline = require('readline');
const { sign, verify } = require('../tests/interop/package_notary');

const calls = {
  verify: async ({ signature, values }) => {
    const verdict = await verify(signature, JSON.parse(values));
    if (!verdict.valid) throw new Error(verdict.error);
  },
  sign: ({ values, key }) => sign(JSON.parse(values), key),
};

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    const start = process.cpuUsage();
    let operations = 0;
    let seconds = 0;
    while (seconds < request.seconds) {
      await calls[request.call](request);
      operations += 1;
      const used = process.cpuUsage(start);
      seconds = (used.user + used.system) / 1e6;
    }
    process.stdout.write(JSON.stringify({ operations, seconds }) + '\n');
  }
}

main();
