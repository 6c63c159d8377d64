//! Up, down, unknown: from outcomes in probe order. Pure.
