"""slackwater pair compare beside pt-table-checksum."""
