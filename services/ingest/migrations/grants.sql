-- An import is claimed by whoever brings it: someone of the firm, or of the office.
grant insert on import_day, import_row to turnsheet_ingest_firm, turnsheet_ingest_office;
