//! Deliberate protocol mistakes, one at a time, to prove that the kernels would notice them.
//!
//! The engine asks `sync.mutated(.name)` at the place in question. The list is the same in the
//! native `sync`, where the answer is known at compile time; each mistake is described where
//! `main.zig` says which kernel has to catch it.

pub const Mutation = enum {
    none,
    no_sequencing,
    epoch_from_next,
    free_at_abort,
    no_guard_cas,
    unfenced_pin,
    retire_without_plus_one,
    no_stamp_by_drainer,
    no_validation,
    heap_scan_no_wait,
    xmin_before_xmax,
    no_xmin_recheck,
    payload_before_txref,
    seq_before_stamp,
    untagged_dying,
    index_first,
    no_recheck,
    removal_by_own_pin,
    trusted_hint,
    believed_hint,
    moving_snapshot,
    dirty_read,
    gate_without_wait,
    gate_of_the_dead,
    ticket_without_snapshot,
    ticket_released_twice,
    blind_resume,
    blind_revoke,
    views_at_rest,
    rollback_forgets_reads,
    recovery_of_the_living,
    shared_orphan,
    build_without_wait,
    no_unique_check,
    keys_of_another_base,
    drained_without_epoch,
};
