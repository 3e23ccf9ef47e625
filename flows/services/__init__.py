"""What one asks of a deployment: plain data in and out. Nothing here prints; `flows.cli` says it in words.

configuration_check, configuration_changes, first_configuration, what_if
                     a configuration file before it is used: what is wrong with it, what it would do
reloading            new rules while the deployment runs
processes            the flows as processes under a supervisor
status, data_quality, customers, digests
                     what is there
importing            rows of a file as events
dead_letter_desk, resending, suspensions, repair
                     what went wrong, and going on
steward              identities: what is seen and decided of them
backups, daily_backup, restore, rebuild, switching
                     the past
model_registry       the models that learn
pages                HTML pages for people
"""
