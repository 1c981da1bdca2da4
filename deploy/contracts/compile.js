// Compiles the contracts and writes what the package ships: `node compile.js [FOLDER]`.
//
// The same sources give the same bytes everywhere: the compiler's version is pinned, and no metadata is appended,
// whose hash would change with a comment or a path.

'use strict'

const fs = require('node:fs')
const path = require('node:path')
const solc = require('solc')

const SOURCES = path.join(__dirname, 'src')
const ARTIFACTS = path.join(__dirname, '../../python/ocn_fast/registry/artifacts')
const CONTRACTS = ['Registry', 'Permissions']
const SETTINGS = {
  // The newest instructions that every chain with v1 contracts has: neither PUSH0 (Shanghai) nor any later one.
  evmVersion: 'istanbul',
  optimizer: { enabled: true, runs: 200 },
  metadata: { appendCBOR: false, bytecodeHash: 'none' }
}

function compile () {
  const names = fs.readdirSync(SOURCES).filter((name) => name.endsWith('.sol')).sort()
  const sources = Object.fromEntries(
    names.map((name) => [name, { content: fs.readFileSync(path.join(SOURCES, name), 'utf8') }])
  )
  const outputSelection = { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] } }
  const input = { language: 'Solidity', sources, settings: { ...SETTINGS, outputSelection } }
  const output = JSON.parse(solc.compile(JSON.stringify(input)))
  const complaints = output.errors ?? []
  if (complaints.length > 0) {
    // Warnings, too: there are none, and a new one must be looked at.
    throw new Error(complaints.map((one) => one.formattedMessage).join('\n'))
  }
  return CONTRACTS.map((name) => [name, artifact(name, output.contracts[`${name}.sol`][name])])
}

function artifact (contract, { abi, evm }) {
  return {
    contract,
    compiler: { version: solc.version(), ...SETTINGS },
    deployedBytes: evm.deployedBytecode.object.length / 2,
    abi,
    bytecode: `0x${evm.bytecode.object}`
  }
}

function main (folder) {
  fs.mkdirSync(folder, { recursive: true })
  for (const [name, content] of compile()) {
    fs.writeFileSync(path.join(folder, `${name}.json`), `${JSON.stringify(content, null, 1)}\n`)
    process.stdout.write(`${name}: ${content.deployedBytes} bytes\n`)
  }
}

main(process.argv[2] ?? ARTIFACTS)
