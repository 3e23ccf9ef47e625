"""Pages for people, each one HTML file that takes nothing from the network: the document and its charts."""
