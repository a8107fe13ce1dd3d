"""Billing's calls: rates, terms and timesheets in; runs, invoices and explanations out."""

from typing import Final

from services.billing.api.answers import (
    AllTermsAnswer,
    ApprovedAnswer,
    ExplanationAnswer,
    InvoiceAnswer,
    InvoicesAnswer,
    InvoiceWithDocument,
    IssuedAnswer,
    IssuedDocument,
    RateAnswer,
    RatesAnswer,
    ReplayAnswer,
    RunAnswer,
    TermsAnswer,
    TimesheetAnswer,
)
from services.billing.api.common import SETTINGS, WRITER_POOL, IssueIn
from services.billing.api.invoices import (
    InvoiceAddress,
    InvoicesQuery,
    approve_invoice,
    explain_line,
    get_invoice,
    get_invoice_csv,
    get_invoice_json,
    issue_invoice,
    list_invoices,
)
from services.billing.api.reference import (
    RateIn,
    TermsIn,
    get_rates,
    get_terms,
    put_rate,
    put_terms,
)
from services.billing.api.runs import (
    ReplayQuery,
    RunIn,
    get_run,
    issue_run,
    post_run,
    replay_run,
)
from services.billing.api.timesheets import (
    ApproveIn,
    TimesheetQuery,
    approve_timesheets,
    get_timesheets,
)
from services.web.http import Route

__all__ = ["ROUTES", "SETTINGS", "WRITER_POOL"]

ROUTES: Final = (
    Route("GET", "/v1/rate-cards", get_rates, "rates:read", "The rate card in force",
          response=RatesAnswer, office=True),
    Route("PUT", "/v1/rate-cards", put_rate, "rates:write", "Put a rate on the card",
          request=RateIn, response=RateAnswer, office=True),
    Route("GET", "/v1/firms/{firm}/billing-terms", get_terms, "bills:read", "A firm's terms",
          response=AllTermsAnswer),
    Route("PUT", "/v1/firms/{firm}/billing-terms", put_terms, "terms:write",
          "Add a version of a firm's terms", request=TermsIn, response=TermsAnswer),
    Route("GET", "/v1/firms/{firm}/timesheets", get_timesheets, "timesheets:read",
          "A firm's entries and whether they are approved", query=TimesheetQuery,
          response=TimesheetAnswer, headers=(("Link", "The next page, when there is one."),)),
    Route("POST", "/v1/firms/{firm}/timesheets/approve", approve_timesheets, "timesheets:approve",
          "Approve entry versions", request=ApproveIn, response=ApprovedAnswer),
    Route("POST", "/v1/runs", post_run, "bills:run", "Begin a month run", request=RunIn,
          response=RunAnswer, status=202, keyed=True, headers=(("Location", "The run."),),
          office=True),
    Route("GET", "/v1/runs/{run}", get_run, "bills:read", "A run and its reports",
          response=RunAnswer, office=True),
    Route("GET", "/v1/runs/{run}/replay", replay_run, "bills:read",
          "A past run decided again as of its cut, and compared", query=ReplayQuery,
          response=ReplayAnswer, refusals=(409,),
          headers=(("Link", "The next firms, when there are more."),), office=True),
    Route("POST", "/v1/runs/{run}/issue", issue_run, "bills:issue",
          "Issue a run's approved invoices", request=IssueIn, response=IssuedAnswer,
          refusals=(409,), keyed=True, office=True),
    Route("GET", "/v1/invoices", list_invoices, "bills:read", "Invoices", query=InvoicesQuery,
          response=InvoicesAnswer),
    Route("GET", "/v1/invoices/{invoice}.csv", get_invoice_csv, "bills:read",
          "An invoice's lines as CSV", media="text/csv", refusals=(409,)),
    Route("GET", "/v1/invoices/{invoice}.json", get_invoice_json, "bills:read",
          "An issued invoice's frozen bytes", response=IssuedDocument, refusals=(409,)),
    Route("GET", "/v1/invoices/{invoice}", get_invoice, "bills:read", "An invoice",
          response=InvoiceWithDocument),
    Route("POST", "/v1/invoices/{invoice}/approve", approve_invoice, "bills:approve",
          "Approve a draft", response=InvoiceAnswer, refusals=(409,), keyed=True, office=True),
    Route("POST", "/v1/invoices/{invoice}/issue", issue_invoice, "bills:issue",
          "Issue an approved invoice", request=IssueIn, response=InvoiceAnswer, refusals=(409,),
          keyed=True, office=True),
    Route("GET", "/v1/invoices/{invoice}/lines/{line}/explain", explain_line, "bills:read",
          "A line, added up again", variables=InvoiceAddress, response=ExplanationAnswer,
          refusals=(409,)),
)  # fmt: skip
