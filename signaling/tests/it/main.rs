//! The door through its public face, with a house behind it that answers everything.

mod house;
mod join;
mod limits;
mod openapi;
mod pages;
mod records;
mod rest;
mod secrets;
mod session;
mod signal;
mod tokens;
