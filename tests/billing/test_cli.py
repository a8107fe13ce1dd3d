"""Finance at the terminal: what is said when there is nothing to show, and how a command ends."""

import asyncio

from tests.billing.conftest import Billing
from tests.log import entry, put


async def test_what_is_not_there_is_told_and_ends_with_1(billing: Billing):
    await billing.settle()
    cases = [
        (("bill", "show", "nope"), "there is no /v1/invoices/nope"),
        (("bill", "approve", "--period", "2026-05"), "nothing of this month is a draft"),
        (("bill", "run", "2026-07", "--firm", "firm-0"), "unknown_firm"),
        (("terms", "show", "firm-0"), "there is no /v1/firms/firm-0/billing-terms"),
    ]
    ran = await asyncio.gather(*(billing.command(*words) for words, _ in cases))
    for (words, sentence), (code, out, err) in zip(cases, ran, strict=True):
        assert (code, sentence in out + err) == (1, True), (words, out, err)


async def test_an_empty_list_is_told_in_words(billing: Billing):
    await billing.settle()
    dates = ("--from", "2026-07-01", "--to", "2026-07-31")
    assert await billing.command("bill", "list") == (0, "no invoices\n", "")
    assert await billing.command("timesheet", "list", "firm-1", *dates) == (0, "no entries\n", "")


async def test_a_value_that_the_service_refuses_is_a_wrong_call(billing: Billing):
    terms = ("terms", "set", "firm-1", "--from", "2026-03")
    cases = [
        (("rates", "set", "--country", "XX", "--rate", "9", "--from", "2026-01-01"),
         "--country: not a country of ISO 3166-1"),
        ((*terms, "--increment", "7"), "--increment: Input should be 0, 6 or 15"),
        ((*terms, "--exclude-kind", "foo"), "--exclude-kind: Input should be 'work'"),
        ((*terms, "--exclude-phase", "foo"), "--exclude-phase: Input should be"),
    ]  # fmt: skip
    ran = await asyncio.gather(*(billing.command(*words) for words, _ in cases))
    for (words, sentence), (code, out, err) in zip(cases, ran, strict=True):
        assert (code, out, sentence in err) == (2, "", True), (words, err)


async def test_terms_are_shown_with_the_version_of_this_month_marked(billing: Billing):
    await billing.settle()
    told = ("terms", "set", "firm-1", "--from", "2026-03", "--increment", "6")
    assert (await billing.command(*told))[:2] == (0, "version 2 from 2026-03 on\n")
    code, out, _ = await billing.command("terms", "show", "firm-1")
    assert (code, [line.split() for line in out.splitlines()[2:]]) == (
        0,
        [["1", "2026-01", "none", "0", "up"], ["2", "2026-03", "required", "6", "up", "yes"]],
    )


async def test_an_export_is_a_file_and_a_sentence(billing: Billing, tmp_path):
    await put(billing.settings, [entry("a", 30)])
    await billing.run_and_issue("2026-07", "2026-08-05")
    file = tmp_path / "invoice.csv"
    words = ("bill", "export", "INV-2026-000001", "-o", str(file))
    assert await billing.command(*words) == (0, f"{file.stat().st_size} bytes in {file}\n", "")
    nowhere = ("bill", "export", "INV-2026-000001", "-o", f"{file}/nowhere")
    code, out, err = await billing.command(*nowhere)
    assert (code, out, "Not a directory" in err) == (1, "", True)
