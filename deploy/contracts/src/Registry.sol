// SPDX-License-Identifier: Apache-2.0
// Who operates which node, and which party is connected to it.
pragma solidity 0.8.30;

import {Ownable} from "./Ownable.sol";
import {Signatures} from "./Signatures.sol";

/// What is stored, in the slots in which v1 has it: the lengths of `_operators` (4) and `_parties` (9) have no view.
abstract contract Listings is Ownable {
    enum Role {
        CPO,
        EMSP,
        HUB,
        NAP,
        NSP,
        OTHER,
        SCSP
    }

    enum Module {
        cdrs,
        chargingprofiles,
        commands,
        locations,
        sessions,
        tariffs,
        tokens
    }

    struct Modules {
        Module[] sender;
        Module[] receiver;
    }

    struct Party {
        bytes2 countryCode;
        bytes3 partyId;
        Role[] roles;
        Modules modules;
    }

    mapping(address => string) internal _nodeOf;
    mapping(string => bool) internal _domainTaken;
    mapping(address => bool) internal _everOperator;
    address[] internal _operators;

    mapping(bytes2 => mapping(bytes3 => address)) internal _partyWithId;
    mapping(address => bool) internal _everParty;
    mapping(address => Party) internal _partyOf;
    mapping(address => address) internal _operatorOf;
    address[] internal _parties;
}

contract Registry is Listings, Signatures {
    bytes32 private constant SET_NODE =
        keccak256("SetNode(address operator,string domain,uint256 nonce,uint256 deadline)");
    bytes32 private constant DELETE_NODE = keccak256("DeleteNode(address operator,uint256 nonce,uint256 deadline)");
    bytes32 private constant SET_PARTY = keccak256(
        "SetParty(address party,bytes2 countryCode,bytes3 partyId,uint8[] roles,address operator,uint256 nonce,uint256 deadline)"
    );
    bytes32 private constant SET_PARTY_MODULES = keccak256(
        "SetPartyModules(address party,uint8[] sender,uint8[] receiver,uint256 nonce,uint256 deadline)"
    );
    bytes32 private constant DELETE_PARTY = keccak256("DeleteParty(address party,uint256 nonce,uint256 deadline)");

    string private constant OTHER_OPERATOR = "Signer and provided operator address different.";
    string private constant OTHER_PARTY = "Signer and provided party address different.";

    event OperatorUpdate(address indexed operator, string domain);
    event PartyUpdate(
        bytes2 countryCode,
        bytes3 partyId,
        address indexed partyAddress,
        Role[] roles,
        Module[] modulesSender,
        Module[] modulesReceiver,
        address indexed operatorAddress
    );
    // Part of the v1 interface; never emitted, there as here.
    event DebugHash(bytes32 hash);
    event DebugPacked(bytes packed);

    constructor() Signatures("OCN Registry") {}

    // === nodes ===

    function setNode(string memory domain) external {
        _setNode(msg.sender, domain);
    }

    function setNodeRaw(address operator, string memory domain, uint8 v, bytes32 r, bytes32 s) external {
        _requireSigner(_rawSigner(abi.encodePacked(operator, domain), v, r, s), operator, OTHER_OPERATOR);
        _setNode(operator, domain);
    }

    function setNodeTyped(address operator, string memory domain, Consent calldata consent) external {
        bytes32 content =
            keccak256(abi.encode(SET_NODE, operator, keccak256(bytes(domain)), consent.nonce, consent.deadline));
        _accept(operator, content, consent, OTHER_OPERATOR);
        _setNode(operator, domain);
    }

    function deleteNode() external {
        _deleteNode(msg.sender);
    }

    function deleteNodeRaw(address operator, uint8 v, bytes32 r, bytes32 s) external {
        _requireSigner(_rawSigner(abi.encodePacked(operator), v, r, s), operator, OTHER_OPERATOR);
        _deleteNode(operator);
    }

    function deleteNodeTyped(address operator, Consent calldata consent) external {
        bytes32 content = keccak256(abi.encode(DELETE_NODE, operator, consent.nonce, consent.deadline));
        _accept(operator, content, consent, OTHER_OPERATOR);
        _deleteNode(operator);
    }

    function adminDeleteOperator(address operator) external onlyOwner {
        _deleteNode(operator);
    }

    /// Empty if the operator has no node.
    function getNode(address operator) external view returns (string memory) {
        return _nodeOf[operator];
    }

    /// Every operator that was ever listed, in the order of first listing.
    function getNodeOperators() external view returns (address[] memory) {
        return _operators;
    }

    // === parties ===

    function setParty(bytes2 countryCode, bytes3 partyId, Role[] memory roles, address operator) external {
        _setParty(msg.sender, countryCode, partyId, roles, operator);
    }

    function setPartyRaw(
        address party,
        bytes2 countryCode,
        bytes3 partyId,
        Role[] memory roles,
        address operator,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        bytes memory packed = abi.encodePacked(party, countryCode, partyId, roles, operator);
        _requireSigner(_rawSigner(packed, v, r, s), party, OTHER_PARTY);
        _setParty(party, countryCode, partyId, roles, operator);
    }

    function setPartyTyped(
        address party,
        bytes2 countryCode,
        bytes3 partyId,
        Role[] memory roles,
        address operator,
        Consent calldata consent
    ) external {
        bytes32 content = keccak256(
            abi.encode(
                SET_PARTY,
                party,
                countryCode,
                partyId,
                keccak256(abi.encodePacked(roles)),
                operator,
                consent.nonce,
                consent.deadline
            )
        );
        _accept(party, content, consent, OTHER_PARTY);
        _setParty(party, countryCode, partyId, roles, operator);
    }

    function setPartyModules(Module[] memory sender, Module[] memory receiver) external {
        _setPartyModules(msg.sender, sender, receiver);
    }

    function setPartyModulesRaw(
        address party,
        Module[] memory sender,
        Module[] memory receiver,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        _requireSigner(_rawSigner(abi.encodePacked(party, sender, receiver), v, r, s), party, OTHER_PARTY);
        _setPartyModules(party, sender, receiver);
    }

    function setPartyModulesTyped(
        address party,
        Module[] memory sender,
        Module[] memory receiver,
        Consent calldata consent
    ) external {
        bytes32 content = keccak256(
            abi.encode(
                SET_PARTY_MODULES,
                party,
                keccak256(abi.encodePacked(sender)),
                keccak256(abi.encodePacked(receiver)),
                consent.nonce,
                consent.deadline
            )
        );
        _accept(party, content, consent, OTHER_PARTY);
        _setPartyModules(party, sender, receiver);
    }

    function deleteParty() external {
        _deleteParty(msg.sender);
    }

    function deletePartyRaw(address party, uint8 v, bytes32 r, bytes32 s) external {
        _requireSigner(_rawSigner(abi.encodePacked(party), v, r, s), party, OTHER_PARTY);
        _deleteParty(party);
    }

    function deletePartyTyped(address party, Consent calldata consent) external {
        bytes32 content = keccak256(abi.encode(DELETE_PARTY, party, consent.nonce, consent.deadline));
        _accept(party, content, consent, OTHER_PARTY);
        _deleteParty(party);
    }

    function adminDeleteParty(bytes2 countryCode, bytes3 partyId) external onlyOwner {
        _deleteParty(_partyWithId[countryCode][partyId]);
    }

    function getOperatorByAddress(address party) external view returns (address operator, string memory domain) {
        operator = _operatorOf[party];
        domain = _nodeOf[operator];
    }

    function getOperatorByOcpi(bytes2 countryCode, bytes3 partyId)
        external
        view
        returns (address operator, string memory domain)
    {
        operator = _operatorOf[_partyWithId[countryCode][partyId]];
        domain = _nodeOf[operator];
    }

    function getPartyDetailsByAddress(address partyAddress)
        external
        view
        returns (
            bytes2 countryCode,
            bytes3 partyId,
            Module[] memory modulesSender,
            Module[] memory modulesReceiver,
            Role[] memory roles,
            address operatorAddress,
            string memory operatorDomain
        )
    {
        Party storage party = _partyOf[partyAddress];
        countryCode = party.countryCode;
        partyId = party.partyId;
        modulesSender = party.modules.sender;
        modulesReceiver = party.modules.receiver;
        roles = party.roles;
        operatorAddress = _operatorOf[partyAddress];
        operatorDomain = _nodeOf[operatorAddress];
    }

    function getPartyDetailsByOcpi(bytes2 countryCode, bytes3 partyId)
        external
        view
        returns (
            address partyAddress,
            Role[] memory roles,
            Module[] memory modulesSender,
            Module[] memory modulesReceiver,
            address operatorAddress,
            string memory operatorDomain
        )
    {
        partyAddress = _partyWithId[countryCode][partyId];
        Party storage party = _partyOf[partyAddress];
        roles = party.roles;
        modulesSender = party.modules.sender;
        modulesReceiver = party.modules.receiver;
        operatorAddress = _operatorOf[partyAddress];
        operatorDomain = _nodeOf[operatorAddress];
    }

    /// Every party that was ever listed, in the order of first listing.
    function getParties() external view returns (address[] memory) {
        return _parties;
    }

    // === what all three ways to call have in common ===

    function _setNode(address operator, string memory domain) private {
        require(bytes(domain).length != 0, "Cannot set empty domain name. Use deleteNode method instead.");
        require(!_domainTaken[domain], "Domain name already registered.");
        // The domain that it had is free for others, and for itself.
        delete _domainTaken[_nodeOf[operator]];
        _domainTaken[domain] = true;
        if (!_everOperator[operator]) {
            _everOperator[operator] = true;
            _operators.push(operator);
        }
        _nodeOf[operator] = domain;
        emit OperatorUpdate(operator, domain);
    }

    /// Its parties keep it as their operator: they can be reached again once it lists a domain.
    function _deleteNode(address operator) private {
        string memory domain = _nodeOf[operator];
        require(bytes(domain).length != 0, "Cannot delete node that does not exist.");
        delete _domainTaken[domain];
        delete _nodeOf[operator];
        emit OperatorUpdate(operator, "");
    }

    function _setParty(
        address party,
        bytes2 countryCode,
        bytes3 partyId,
        Role[] memory roles,
        address operator
    ) private {
        require(countryCode != bytes2(0), "Cannot set empty country_code. Use deleteParty method instead.");
        require(partyId != bytes3(0), "Cannot set empty party_id. Use deleteParty method instead.");
        require(roles.length != 0, "No roles provided.");
        require(operator != address(0), "Cannot set empty operator. Use deleteParty method instead.");
        address holder = _partyWithId[countryCode][partyId];
        require(
            holder == address(0) || holder == party,
            "Party with country_code/party_id already registered under different address."
        );
        require(bytes(_nodeOf[operator]).length != 0, "Provided operator not registered.");

        Party storage details = _partyOf[party];
        // The id that it had is free for others.
        delete _partyWithId[details.countryCode][details.partyId];
        _partyWithId[countryCode][partyId] = party;
        if (!_everParty[party]) {
            _everParty[party] = true;
            _parties.push(party);
        }
        details.countryCode = countryCode;
        details.partyId = partyId;
        details.roles = roles;
        // A listing starts without modules.
        delete details.modules;
        _operatorOf[party] = operator;
        _emitParty(party);
    }

    function _setPartyModules(address party, Module[] memory sender, Module[] memory receiver) private {
        require(_operatorOf[party] != address(0), "Party not registered. Use setParty method first.");
        _partyOf[party].modules.sender = sender;
        _partyOf[party].modules.receiver = receiver;
        _emitParty(party);
    }

    function _deleteParty(address party) private {
        require(
            _operatorOf[party] != address(0),
            "Cannot delete party that does not exist. No operator found for given party."
        );
        Party storage details = _partyOf[party];
        bytes2 countryCode = details.countryCode;
        bytes3 partyId = details.partyId;
        delete _partyWithId[countryCode][partyId];
        delete _partyOf[party];
        delete _operatorOf[party];
        emit PartyUpdate(countryCode, partyId, party, new Role[](0), new Module[](0), new Module[](0), address(0));
    }

    function _emitParty(address party) private {
        Party storage details = _partyOf[party];
        emit PartyUpdate(
            details.countryCode,
            details.partyId,
            party,
            details.roles,
            details.modules.sender,
            details.modules.receiver,
            _operatorOf[party]
        );
    }
}
