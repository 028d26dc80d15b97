//! The Kubernetes API as a source: against a real kube-apiserver with etcd, and against a small one that does
//! what a real one will not do on demand.

#![cfg(test)]

mod agent;
mod cluster;
mod fake;
mod faults;
mod hostile;
mod outage;
mod proxy;
mod real;
