//! The whole program, over real TLS on 127.0.0.1, with agents that only pretend.

mod agent;
mod coordinator;
mod enrolment;
mod epoch;
mod hands_off;
mod initialisation;
mod operations;
mod trust;
