//! The behaviour that rule authors rely on.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod closes;
#[cfg(test)]
mod conditions;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod correlate;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod lint;
#[cfg(test)]
mod loading;
#[cfg(test)]
mod matcher;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod published;
#[cfg(test)]
mod responses;
#[cfg(test)]
mod scopes;
#[cfg(test)]
mod shipped;
#[cfg(test)]
mod support;
