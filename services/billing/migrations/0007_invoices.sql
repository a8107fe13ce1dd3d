-- The office asks for an invoice by its id or its number, whatever the firm.
create index invoice_of_id on invoice (invoice_id);
create index invoice_of_number on invoice (number) where number is not null;

-- No statement looks entries up by their assistant any more.
drop index entry_of_assistant;
