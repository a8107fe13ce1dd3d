"""Billing's calls: rates, terms and timesheets in; runs, invoices and explanations out."""

from typing import Final

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
from services.billing.api.runs import RunIn, get_run, issue_run, post_run
from services.billing.api.timesheets import (
    ApproveIn,
    TimesheetQuery,
    approve_timesheets,
    get_timesheets,
)
from services.http import Route

__all__ = ["ROUTES", "SETTINGS", "WRITER_POOL"]

ROUTES: Final = (
    Route("GET", "/v1/rate-cards", get_rates, "rates:read", "The rate card in force"),
    Route("PUT", "/v1/rate-cards", put_rate, "rates:write", "Put a rate on the card",
          request=RateIn),
    Route("GET", "/v1/firms/{firm}/billing-terms", get_terms, "bills:read", "A firm's terms"),
    Route("PUT", "/v1/firms/{firm}/billing-terms", put_terms, "terms:write",
          "Add a version of a firm's terms", request=TermsIn),
    Route("GET", "/v1/firms/{firm}/timesheets", get_timesheets, "timesheets:read",
          "A firm's entries and whether they are approved", query=TimesheetQuery),
    Route("POST", "/v1/firms/{firm}/timesheets/approve", approve_timesheets, "timesheets:approve",
          "Approve entry versions", request=ApproveIn),
    Route("POST", "/v1/runs", post_run, "bills:run", "Begin a month run", request=RunIn,
          status=202),
    Route("GET", "/v1/runs/{run}", get_run, "bills:read", "A run and its reports"),
    Route("POST", "/v1/runs/{run}/issue", issue_run, "bills:issue",
          "Issue a run's approved invoices", request=IssueIn),
    Route("GET", "/v1/invoices", list_invoices, "bills:read", "Invoices", query=InvoicesQuery),
    Route("GET", "/v1/invoices/{invoice}.csv", get_invoice_csv, "bills:read",
          "An invoice's lines as CSV", media="text/csv"),
    Route("GET", "/v1/invoices/{invoice}.json", get_invoice_json, "bills:read",
          "An issued invoice's frozen bytes"),
    Route("GET", "/v1/invoices/{invoice}", get_invoice, "bills:read", "An invoice"),
    Route("POST", "/v1/invoices/{invoice}/approve", approve_invoice, "bills:approve",
          "Approve a draft"),
    Route("POST", "/v1/invoices/{invoice}/issue", issue_invoice, "bills:issue",
          "Issue an approved invoice", request=IssueIn),
    Route("GET", "/v1/invoices/{invoice}/lines/{line}/explain", explain_line, "bills:read",
          "A line, added up again", variables=InvoiceAddress),
)  # fmt: skip
