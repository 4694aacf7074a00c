"""FHIR R4 (https://hl7.org/fhir/R4): bundles as text, a document for each patient. Does not read files."""
