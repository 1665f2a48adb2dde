"""One typed model per concern. A field's description is its documentation: `config env` and the annotated file print it."""
