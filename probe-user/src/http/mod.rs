//! The HTTP server: metrics, health, and a page that links them.
