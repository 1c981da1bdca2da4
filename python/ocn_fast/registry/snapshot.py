"""The signed registry snapshot: operators, parties, services and agreements at one block, as one text file.

    ocn-fast-registry/1
    {"agreements":[…],"block":…,"block_hash":…,"chain_id":…,"contract":…,"network":…,"operators":[…],…}
    0x<r><s><v>

Three lines. The signature (EIP-191 "personal sign") is over the first two, without the newline between the
second and the third. The JSON is canonical (RFC 8785) and its lists are sorted without repetition, so the
same registry always gives the same bytes. The first line keeps the text apart from everything else that a
key signs.

What is malformed, not canonical, doubled or wrongly signed refuses the file as a whole. What a chain may
hold and a table cannot (the zero address, impossible ids, endless domains) is skipped, with a warning. No
file, network or clock is touched here but in `read` and `write`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ocn_fast import _native
from ocn_fast.errors import RegistryFileError

HEAD = b"ocn-fast-registry/1\n"
SAFE_INTEGER = 2**53 - 1
MAX_BYTES = 512 * 1024 * 1024
MAX_PARTIES = 1_000_000
MAX_DOMAIN_BYTES = 512
ZERO_ADDRESS = "0x" + "0" * 40

ID_FORMS = {"country_code": re.compile("[A-Za-z]{2}"), "party_id": re.compile("[A-Za-z0-9]{3}")}
"""What the parts of a party's id may be."""
TEXT_CHARS = 1_024

_SIGNATURE = re.compile(rb"0x[0-9a-f]{130}")

Address = Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{40}$")]
Hash = Annotated[str, msgspec.Meta(pattern="^0x[0-9a-f]{64}$")]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_CHARS)]
Number = Annotated[int, msgspec.Meta(ge=0, le=SAFE_INTEGER)]
Time = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class Operator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node: who signs for it, and where it is."""

    address: Address
    domain: Annotated[str, msgspec.Meta(max_length=16_384)]


class Party(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A party: its own address, and the address of the operator whose node it uses."""

    country_code: Text
    party_id: Text
    address: Address
    operator: Address
    roles: tuple[Text, ...] = ()
    modules: tuple[Text, ...] = ()


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A service that a provider lists, with the permissions it asks for."""

    provider: Address
    name: Text = ""
    url: Text = ""
    permissions: tuple[Text, ...] = ()


class Agreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user's consent to the service of a provider."""

    user: Address
    provider: Address


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole registry at one block. `time` is the time of the block, in UTC."""

    network: Text
    chain_id: Number
    contract: Address | None
    block: Number
    block_hash: Hash | None
    time: Time
    operators: tuple[Operator, ...] = ()
    parties: tuple[Party, ...] = ()
    services: tuple[Service, ...] = ()
    agreements: tuple[Agreement, ...] = ()


class Signed(msgspec.Struct, frozen=True):
    """A snapshot that was read: its usable content, who signed it (EIP-55), and what was skipped."""

    snapshot: Snapshot
    signatory: str
    warnings: tuple[str, ...]


def normalise(snapshot: Snapshot) -> Snapshot:
    """The same registry in the one order and spelling that a file may have: sorted, ids in capitals, EIP-55.

    Raises RegistryFileError for an address whose mixed case is no EIP-55 checksum.
    """

    def address(text: str) -> str:
        spelled = _native.checksum_address(text)
        digits = text[2:]
        if text != spelled and digits not in (digits.lower(), digits.upper()):
            raise RegistryFileError(
                f"{text} has a wrong checksum: one of its characters is not what was meant"
            )
        return spelled

    def words(texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(set(texts)))

    replace = msgspec.structs.replace
    operators = [replace(item, address=address(item.address)) for item in snapshot.operators]
    parties = [
        replace(
            item,
            country_code=item.country_code.upper(),
            party_id=item.party_id.upper(),
            address=address(item.address),
            operator=address(item.operator),
            roles=words(item.roles),
            modules=words(item.modules),
        )
        for item in snapshot.parties
    ]
    services = [
        replace(item, provider=address(item.provider), permissions=words(item.permissions))
        for item in snapshot.services
    ]
    agreements = [
        replace(item, user=address(item.user), provider=address(item.provider))
        for item in snapshot.agreements
    ]
    return replace(
        snapshot,
        contract=None if snapshot.contract is None else address(snapshot.contract),
        operators=tuple(sorted(operators, key=_operator_key)),
        parties=tuple(sorted(parties, key=_party_key)),
        services=tuple(sorted(services, key=_service_key)),
        agreements=tuple(sorted(agreements, key=_agreement_key)),
    )


def from_json(text: bytes) -> Snapshot:
    """A snapshot from JSON in any order and spelling, as a person or a tool writes it before it is signed."""
    try:
        return normalise(msgspec.json.decode(text, type=Snapshot))
    except msgspec.DecodeError as error:
        raise RegistryFileError(f"the registry is not what it must be: {error}") from None


def canonical(snapshot: Snapshot) -> bytes:
    """The bytes that are signed: first line and RFC 8785 JSON."""
    # For texts and whole numbers, and members whose names are ASCII, that is what sorting makes of it.
    return HEAD + msgspec.json.encode(snapshot, order="sorted")


def to_builtins(snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot as dictionaries and lists, as it stands in the file."""
    document: dict[str, Any] = msgspec.to_builtins(snapshot)
    return document


def sign(snapshot: Snapshot, key: bytes) -> bytes:
    """The content of a signed file. `key` is 32 bytes.

    Raises RegistryFileError where the file would be refused: an id or an address listed twice.
    """
    snapshot = normalise(snapshot)
    _require_distinct(snapshot)
    text = canonical(snapshot)
    return b"%s\n%s\n" % (text, _native.personal_sign(key, text).encode())


def parse(
    data: bytes,
    *,
    signers: Sequence[str] | None = None,
    max_parties: int = MAX_PARTIES,
    max_domain_bytes: int = MAX_DOMAIN_BYTES,
) -> Signed:
    """Reads and checks a file's content: form, order, signature, and, unless `signers` is None, who signed.

    Raises RegistryFileError, which says what is wrong.
    """
    if not data.startswith(HEAD):
        raise RegistryFileError(
            f"this is not a registry snapshot: its first line must be {HEAD.decode().strip()}"
        )
    text, separator, rest = data[len(HEAD) :].partition(b"\n")
    signature = rest.removesuffix(b"\n")
    if not separator or not _SIGNATURE.fullmatch(signature):
        raise RegistryFileError("the third line must be the signature: 0x and 130 hex digits in lower case")
    try:
        signatory = _native.personal_recover(HEAD + text, signature.decode())
    except ValueError:
        raise RegistryFileError("the signature is none: no key can have made it") from None
    if signers is not None and signatory.lower() not in {signer.lower() for signer in signers}:
        raise RegistryFileError(f"signed by {signatory}, who is not among registry.file_signers")
    try:
        snapshot = msgspec.json.decode(text, type=Snapshot)
        datetime.fromisoformat(snapshot.time)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RegistryFileError(f"the registry is not what it must be: {error}") from None
    if canonical(normalise(snapshot)) != HEAD + text:
        raise RegistryFileError(
            "not in canonical form (RFC 8785, lists sorted, ids in capitals, EIP-55 addresses)"
        )
    if len(snapshot.parties) > max_parties:
        raise RegistryFileError(
            f"{len(snapshot.parties)} parties, allowed are {max_parties} (registry.parties)"
        )
    _require_distinct(snapshot)
    usable, warnings = _usable(snapshot, max_domain_bytes)
    return Signed(usable, signatory, warnings)


def read(path: Path | str, *, max_bytes: int = MAX_BYTES, **checks: Any) -> Signed:
    """As `parse`, from a file of at most `max_bytes`."""
    return parse(content(path, max_bytes), **checks)


def digest(data: bytes, **checks: Any) -> str:
    """Hex digits that are the same only where `parse` would say the same: they stand for the bytes of a file,
    what it is held to (the parameters of `parse`), and the version of this package, which reads it."""
    terms = msgspec.json.encode({"version": _native.__version__, **checks}, order="sorted")
    return hashlib.sha256(b"%d\n%b\n%b" % (len(terms), terms, data)).hexdigest()


def content(path: Path | str, max_bytes: int = MAX_BYTES) -> bytes:
    """A file's bytes, of which there may be `max_bytes`. Raises RegistryFileError."""
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as error:
        raise RegistryFileError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > max_bytes:
        raise RegistryFileError(f"{path} is larger than {max_bytes} bytes (registry.file_bytes)")
    return data


def write(path: Path | str, data: bytes) -> None:
    """Puts a file in its place in one step, so that no reader ever sees half of it."""
    target = Path(path)
    beside = target.with_name(target.name + ".new")
    beside.write_bytes(data)
    beside.replace(target)


def _operator_key(item: Operator) -> tuple[str, ...]:
    return (item.address.lower(),)


def _party_key(item: Party) -> tuple[str, ...]:
    return (item.country_code.upper(), item.party_id.upper())


def _service_key(item: Service) -> tuple[str, ...]:
    return (item.provider.lower(),)


def _agreement_key(item: Agreement) -> tuple[str, ...]:
    return (item.user.lower(), item.provider.lower())


def _require_distinct(snapshot: Snapshot) -> None:
    """Nothing is listed twice: two entries for one id would leave open which of them counts."""
    lists: tuple[tuple[str, list[tuple[str, ...]]], ...] = (
        ("operators", [_operator_key(item) for item in snapshot.operators]),
        ("parties", [_party_key(item) for item in snapshot.parties]),
        ("services", [_service_key(item) for item in snapshot.services]),
        ("agreements", [_agreement_key(item) for item in snapshot.agreements]),
    )
    for name, keys in lists:
        for before, after in pairwise(keys):
            if before == after:
                raise RegistryFileError(f"{name}: {'/'.join(after)!r} is listed twice")


def _usable(snapshot: Snapshot, max_domain_bytes: int) -> tuple[Snapshot, tuple[str, ...]]:
    """What a table can hold of it, and a line for everything else."""
    warnings: list[str] = []

    def keep(kind: str, name: str, fault: str | None) -> bool:
        if fault is not None:
            warnings.append(f"{kind} {name!r} skipped: {fault}")
        return fault is None

    operators = tuple(
        item
        for item in snapshot.operators
        if keep("operator", item.address, _operator_fault(item, max_domain_bytes))
    )
    parties = tuple(
        item
        for item in snapshot.parties
        if keep("party", f"{item.country_code}/{item.party_id}", _party_fault(item))
    )
    services = tuple(
        item for item in snapshot.services if keep("service", item.provider, _zero_fault(item.provider))
    )
    agreements = tuple(
        item
        for item in snapshot.agreements
        if keep("agreement", item.user, _zero_fault(item.user) or _zero_fault(item.provider))
    )
    usable = msgspec.structs.replace(
        snapshot, operators=operators, parties=parties, services=services, agreements=agreements
    )
    return usable, tuple(warnings)


def _zero_fault(address: str) -> str | None:
    return "the address is zero" if address.lower() == ZERO_ADDRESS else None


def _operator_fault(item: Operator, max_domain_bytes: int) -> str | None:
    if len(item.domain.encode()) > max_domain_bytes:
        return f"the domain is longer than {max_domain_bytes} bytes"
    if not item.domain.isprintable():
        return "the domain contains control characters"
    return _zero_fault(item.address)


def _party_fault(item: Party) -> str | None:
    for name, form in ID_FORMS.items():
        if not form.fullmatch(getattr(item, name)):
            return f"impossible {name}"
    return _zero_fault(item.address) or _zero_fault(item.operator)
