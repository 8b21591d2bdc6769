"""`moereg data`: public sets of scans, where they are, whether they are as they should be, how to get them."""

import argparse
from pathlib import Path

from moereg.cli.options import command


def add_commands(commands) -> None:
    """`data list`, `data where`, `data verify` and `data get`."""
    data = command(commands, "data", run_list, "list, find, verify and fetch public sets of scans")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    command(actions, "list", run_list, "all sets: title, licence, and whether they are here")
    where = command(actions, "where", run_where, "where a set lies, or where it comes from and where to put it")
    where.add_argument("name", help="of the set; moereg data list names them")
    verify = command(actions, "verify", run_verify, "look at every file of a set: pairs, headers, checksums")
    verify.add_argument("name", help="of the set")
    verify.add_argument("--folder", type=Path, help="where to look for it (default: MOEREG_DATA, then the cache)")
    verify.add_argument("--accept", action="store_true", help="take what is there now as known, from now on")
    get = command(actions, "get", run_get, "fetch a set, check it, unpack it safely and verify it")
    get.add_argument("name", help="of the set")
    get.add_argument("--to", type=Path, help="folder below which it goes (default: MOEREG_DATA, then the cache)")
    get.add_argument("--archive", type=Path, help="take this archive, which you fetched, and fetch nothing")
    get.add_argument("--agree", action="store_true", help="you have read the set's terms and agree to them")


def run_list(options: argparse.Namespace) -> None:
    """`moereg data list`"""
    from moereg.data.publicsets import CARDS, find

    for card in CARDS.values():
        here = find(card)
        how = "moereg data get" if card.address else "by hand, after registering"
        print(f"{card.name}: {card.title}; {card.subjects} subjects; licence: {card.licence}")
        print(f"    {f'here: {here}' if here else f'not here: {how}'}")


def run_where(options: argparse.Namespace) -> None:
    """`moereg data where`"""
    from moereg.data.publicsets import find, missing

    card = _card(options.name)
    here = find(card)
    print(here if here else missing(card))
    print("\n".join(_told(card)))


def run_verify(options: argparse.Namespace) -> None:
    """`moereg data verify`"""
    from moereg.data.publicsets import find, missing
    from moereg.data.verifying import told, verify

    card = _card(options.name)
    here = find(card, options.folder)
    if here is None:
        raise FileNotFoundError(missing(card, options.folder))
    checked = verify(card, here, accept=options.accept, progress=True)
    print("\n".join(checked.said))
    if checked.problems:
        raise ValueError(told(checked.problems))
    print(f"{card.name}: as it should be")


def run_get(options: argparse.Namespace) -> None:
    """`moereg data get`"""
    from moereg.data.verifying import get

    card = _card(options.name)
    done = get(card, to=options.to, archive=options.archive, agreed=options.agree, progress=True)
    print("\n".join([*_told(card), *done.said]))


def _card(name: str):
    from moereg.checks import check_choice
    from moereg.data.publicsets import CARDS

    check_choice("name", name, tuple(CARDS))
    return CARDS[name]


def _told(card) -> list[str]:
    return [
        f"licence: {card.licence}",
        f"to cite: {card.cite}",
        f"page: {card.page}",
        f"checksum of {card.archive}: {card.checksum}",
        f"mind: {card.caveat}",
    ]
