//! The crate as its users see it: records and facts in, events and lookups out.

#[cfg(test)]
mod claims;
#[cfg(test)]
mod context;
#[cfg(test)]
mod domains;
#[cfg(test)]
mod kernel;
#[cfg(test)]
mod merge;
#[cfg(test)]
mod owners;
#[cfg(test)]
mod programs;
