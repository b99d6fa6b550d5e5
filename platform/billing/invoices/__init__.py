"""What a tenant is asked to pay.

* `closing`     a period ends, and a draft is made for it;
* `gathering`   which usage, fees and credit are on it, as lines;
* `issuing`     a draft becomes final: its number, its amounts, its tax;
* `settling`    what is paid of which invoice;
* `correcting`  invoices that are void, and credit notes;
* `profiles`    who pays, who sells, at which tax;
* `tracing`     from a line to its requests;
* `documents`   the lines as PDF, CSV and JSON;
* `upkeep`      all that is due, across tenants.
"""
