"""The portal's pages, one module a subject. A handler reads, acts in the visitor's name, and answers with a page."""
