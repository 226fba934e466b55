//! Which snapshots to keep: policies, and the plan they make of a list of snapshots.
//!
//! All of it is computation on what it is given. [`plan_forget`] and [`plan_forget_ids`] make a
//! [`ForgetPlan`]; `Repository::forget` carries one out, and checks it once more against what other
//! writers did meanwhile.

mod calendar;
mod plan;
mod policy;

pub use calendar::Calendar;
pub use plan::{
    ForgetGroup, ForgetPlan, GroupKey, KeepReason, PlannedSnapshot, plan_forget, plan_forget_ids,
};
pub use policy::{GroupBy, KeepCount, KeepSpan, Period, Policy};
