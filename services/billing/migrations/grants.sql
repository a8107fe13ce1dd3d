-- What billing's roles may do beyond what every house's may.
grant insert on approval to turnsheet_billing_firm;
grant insert on approval, rate, terms, run, run_firm, series, series_number, settlement to turnsheet_billing_office;
grant update (superseded_at) on rate to turnsheet_billing_office;
grant update on invoice, series to turnsheet_billing_office, turnsheet_billing_writer;
grant update (done, report, invoice_id, attempts, trouble) on run_firm to turnsheet_billing_writer;
grant update (listed) on run to turnsheet_billing_writer;
