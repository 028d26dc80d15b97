//! The behaviour that rule authors rely on.

mod conditions;
mod hostile;
mod loading;
mod plans;
mod published;
mod responses;
mod shipped;
mod support;
