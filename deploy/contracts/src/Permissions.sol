// SPDX-License-Identifier: Apache-2.0
// Services that get copies of messages, and who has agreed to them.
pragma solidity 0.8.30;

import {Signatures} from "./Signatures.sol";

/// The part of a registry that is needed here; v1 has it, too.
interface IRegistry {
    function getOperatorByAddress(address party) external view returns (address operator, string memory domain);

    function getPartyDetailsByAddress(address partyAddress)
        external
        view
        returns (
            bytes2 countryCode,
            bytes3 partyId,
            uint8[] memory modulesSender,
            uint8[] memory modulesReceiver,
            uint8[] memory roles,
            address operatorAddress,
            string memory operatorDomain
        );

    function getPartyDetailsByOcpi(bytes2 countryCode, bytes3 partyId)
        external
        view
        returns (
            address partyAddress,
            uint8[] memory roles,
            uint8[] memory modulesSender,
            uint8[] memory modulesReceiver,
            address operatorAddress,
            string memory operatorDomain
        );
}

/// What is stored, in the slots in which v1 has it.
abstract contract Offers {
    struct Service {
        string name;
        string url;
        uint256[] permissions;
    }

    IRegistry internal _registry;
    address[] public providers;
    mapping(address => bool) internal _isProvider;
    mapping(address => Service) internal _serviceOf;
    mapping(address => mapping(address => bool)) internal _agreed;
    mapping(address => address[]) internal _providersOf;
}

contract Permissions is Offers, Signatures {
    bytes32 private constant SET_SERVICE = keccak256(
        "SetService(address provider,string name,string url,uint256[] permissions,uint256 nonce,uint256 deadline)"
    );
    bytes32 private constant DELETE_SERVICE =
        keccak256("DeleteService(address provider,uint256 nonce,uint256 deadline)");
    bytes32 private constant CREATE_AGREEMENT =
        keccak256("CreateAgreement(address user,address provider,uint256 nonce,uint256 deadline)");
    bytes32 private constant REVOKE_AGREEMENT =
        keccak256("RevokeAgreement(address user,address provider,uint256 nonce,uint256 deadline)");

    string private constant OTHER_PROVIDER = "Signer and provided provider address different.";
    string private constant OTHER_USER = "Signer and provided user address different.";

    event ServiceUpdate(string name, string url, uint256[] permissions, address provider);
    event ServiceAgreement(address user, address provider);

    constructor(address registryAddress) Signatures("OCN Permissions") {
        _registry = IRegistry(registryAddress);
    }

    // === services ===

    function setService(string memory name, string memory url, uint256[] memory permissions) external {
        _setService(msg.sender, name, url, permissions);
    }

    function setServiceRaw(
        string memory name,
        string memory url,
        uint256[] memory permissions,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        _setService(_rawSigner(abi.encodePacked(name, url, permissions), v, r, s), name, url, permissions);
    }

    function setServiceTyped(
        address provider,
        string memory name,
        string memory url,
        uint256[] memory permissions,
        Consent calldata consent
    ) external {
        bytes32 content = keccak256(
            abi.encode(
                SET_SERVICE,
                provider,
                keccak256(bytes(name)),
                keccak256(bytes(url)),
                keccak256(abi.encodePacked(permissions)),
                consent.nonce,
                consent.deadline
            )
        );
        _accept(provider, content, consent, OTHER_PROVIDER);
        _setService(provider, name, url, permissions);
    }

    function deleteService() external {
        _deleteService(msg.sender);
    }

    function deleteServiceRaw(address provider, uint8 v, bytes32 r, bytes32 s) external {
        _requireSigner(_rawSigner(abi.encodePacked(provider), v, r, s), provider, OTHER_PROVIDER);
        _deleteService(provider);
    }

    function deleteServiceTyped(address provider, Consent calldata consent) external {
        bytes32 content = keccak256(abi.encode(DELETE_SERVICE, provider, consent.nonce, consent.deadline));
        _accept(provider, content, consent, OTHER_PROVIDER);
        _deleteService(provider);
    }

    /// No permissions: no service. The id is the one that the provider has in the registry now.
    function getService(address provider)
        external
        view
        returns (
            bytes2 countryCode,
            bytes3 partyId,
            string memory name,
            string memory url,
            uint256[] memory permissions
        )
    {
        (countryCode, partyId,,,,,) = _registry.getPartyDetailsByAddress(provider);
        Service storage service = _serviceOf[provider];
        name = service.name;
        url = service.url;
        permissions = service.permissions;
    }

    /// Every listing of a service: who has listed, deleted and listed again appears twice.
    function getProviders() external view returns (address[] memory) {
        return providers;
    }

    // === agreements ===

    function createAgreement(address provider) external {
        _createAgreement(msg.sender, provider);
    }

    function createAgreementRaw(address provider, uint8 v, bytes32 r, bytes32 s) external {
        _createAgreement(_rawSigner(abi.encodePacked(provider), v, r, s), provider);
    }

    function createAgreementTyped(address user, address provider, Consent calldata consent) external {
        bytes32 content = keccak256(abi.encode(CREATE_AGREEMENT, user, provider, consent.nonce, consent.deadline));
        _accept(user, content, consent, OTHER_USER);
        _createAgreement(user, provider);
    }

    function revokeAgreement(address provider) external {
        _revokeAgreement(msg.sender, provider);
    }

    function revokeAgreementRaw(address provider, uint8 v, bytes32 r, bytes32 s) external {
        _revokeAgreement(_rawSigner(abi.encodePacked(provider), v, r, s), provider);
    }

    function revokeAgreementTyped(address user, address provider, Consent calldata consent) external {
        bytes32 content = keccak256(abi.encode(REVOKE_AGREEMENT, user, provider, consent.nonce, consent.deadline));
        _accept(user, content, consent, OTHER_USER);
        _revokeAgreement(user, provider);
    }

    /// Everybody with whom the user has ever agreed, once for each agreement; `hasUserAgreement…` says what holds.
    function getUserAgreementsByAddress(address user) external view returns (address[] memory) {
        return _providersOf[user];
    }

    function getUserAgreementsByOcpi(bytes2 countryCode, bytes3 partyId) external view returns (address[] memory) {
        return _providersOf[_partyWithId(countryCode, partyId)];
    }

    function hasUserAgreementByAddress(address user, address provider) external view returns (bool) {
        return _agreed[user][provider];
    }

    function hasUserAgreementByOcpi(bytes2 countryCode, bytes3 partyId, address provider)
        external
        view
        returns (bool)
    {
        return _agreed[_partyWithId(countryCode, partyId)][provider];
    }

    // === what all three ways to call have in common ===

    function _setService(
        address provider,
        string memory name,
        string memory url,
        uint256[] memory permissions
    ) private {
        require(_isListed(provider), "Trying to register a service without party listing in Registry.");
        require(permissions.length != 0, "No permissions given.");
        _serviceOf[provider] = Service(name, url, permissions);
        if (!_isProvider[provider]) {
            _isProvider[provider] = true;
            providers.push(provider);
        }
        emit ServiceUpdate(name, url, permissions, provider);
    }

    /// Agreements stay, and hold again should the provider list a service again.
    function _deleteService(address provider) private {
        require(_isProvider[provider], "Cannot delete service that does not exist.");
        uint256[] memory permissions = _serviceOf[provider].permissions;
        delete _serviceOf[provider];
        delete _isProvider[provider];
        emit ServiceUpdate("", "", permissions, provider);
    }

    function _createAgreement(address user, address provider) private {
        _requireBoth(user, provider);
        require(!_agreed[user][provider], "Agreement already made between user and provider.");
        _agreed[user][provider] = true;
        _providersOf[user].push(provider);
        emit ServiceAgreement(user, provider);
    }

    function _revokeAgreement(address user, address provider) private {
        _requireBoth(user, provider);
        require(_agreed[user][provider], "No Agreement made between user and provider.");
        delete _agreed[user][provider];
        emit ServiceAgreement(user, provider);
    }

    function _requireBoth(address user, address provider) private view {
        require(_isListed(user), "Service user has no party listing in Registry.");
        require(_isProvider[provider], "Provider has no registered Service.");
    }

    /// The zero address, which a failed recovery gives, is nobody, whatever a registry says of it.
    function _isListed(address party) private view returns (bool) {
        if (party == address(0)) {
            return false;
        }
        (address operator,) = _registry.getOperatorByAddress(party);
        return operator != address(0);
    }

    function _partyWithId(bytes2 countryCode, bytes3 partyId) private view returns (address party) {
        (party,,,,,) = _registry.getPartyDetailsByOcpi(countryCode, partyId);
    }
}
