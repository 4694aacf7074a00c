"""Converts FHIR R4 bundles (https://hl7.org/fhir/R4) to text: one document for each patient. Does not read files."""
