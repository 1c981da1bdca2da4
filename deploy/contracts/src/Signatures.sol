// SPDX-License-Identifier: Apache-2.0
// Who signed what somebody else sends: raw signatures as v1 has them, and typed data (EIP-712).
pragma solidity 0.8.30;

abstract contract Signatures {
    /// A signature of typed data. `nonce` is the signer's `nonces`, `deadline` the last second of its validity.
    struct Consent {
        uint256 nonce;
        uint256 deadline;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    // Of two signatures (s and order - s) that are valid for the same bytes, only the lower one counts (EIP-2).
    uint256 private constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;
    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    bytes32 private immutable _name;

    /// How much typed data of a signer was accepted: the number that its next one must carry. Above zero, raw
    /// signatures of that signer are refused.
    mapping(address => uint256) public nonces;

    constructor(string memory name) {
        _name = keccak256(bytes(name));
    }

    // Not stored, because a fork of the chain may change the chain's id. The name is that of EIP-2612.
    // solhint-disable-next-line func-name-mixedcase
    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN, _name, keccak256("1"), block.chainid, address(this)));
    }

    /// Who made a raw signature; zero if nobody did.
    function _rawSigner(bytes memory packed, uint8 v, bytes32 r, bytes32 s) internal view returns (address signer) {
        signer = _recover(
            keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", keccak256(packed))), v, r, s
        );
        require(nonces[signer] == 0, "Raw signatures of this signer are refused since it has signed typed data.");
    }

    /// Accepts typed data of `signer` once: `content` is the hash of its struct.
    function _accept(address signer, bytes32 content, Consent calldata consent, string memory otherSigner) internal {
        require(block.timestamp <= consent.deadline, "Signature has expired.");
        bytes32 digest = keccak256(abi.encodePacked("\x19\x01", DOMAIN_SEPARATOR(), content));
        _requireSigner(_recover(digest, consent.v, consent.r, consent.s), signer, otherSigner);
        require(consent.nonce == nonces[signer], "Signature does not carry the next nonce of its signer.");
        nonces[signer] = consent.nonce + 1;
    }

    function _requireSigner(address signer, address claimed, string memory otherSigner) internal pure {
        require(signer != address(0) && signer == claimed, otherSigner);
    }

    /// Zero for what no key has signed and for the second form of a signature.
    function _recover(bytes32 digest, uint8 v, bytes32 r, bytes32 s) private pure returns (address) {
        return uint256(s) <= HALF_ORDER ? ecrecover(digest, v, r, s) : address(0);
    }
}
