"""The same schema change by slackwater, by a direct ALTER, and by pt-online-schema-change."""
