"""`mlpstorage explain`: what a finding means, whether a rule's, a check's or a run's."""
