"""What each log event and each log field means: the part of the reference that the source does not say."""

from typing import Final

BOUND_FIELDS: Final = ("topic", "channel", "handler")
"""What lines about one handler have."""

LOG_EVENTS: Final = {
    "admin_health_only": (
        "The admin port is reachable beyond loopback and no `admin_token` is set, so it answers only "
        "`/healthz` and `/readyz`."
    ),
    "admin_listening": "The worker serves its monitor page, metrics and health.",
    "background_task_died": (
        "A defect in nsqkit, with its stack: a task that must run until the worker stops has ended. From now "
        "on `/healthz` answers 503."
    ),
    "batch_failed": "A batch handler's call failed; its messages are handled again one by one.",
    "call_failed": "A call inside `retrying` failed and is made again.",
    "channels_not_created": (
        "The channels of a topic could not be created together over nsqd's HTTP port. The handlers subscribe "
        "anyway, and the first one gets the topic's backlog."
    ),
    "channels_registered": "An nsqlookupd now knows these channels; an nsqd with a new topic creates them.",
    "cleaning_failed": "Old rows of the inbox could not be deleted; the next cleaning tries again.",
    "clock_skew": (
        "This machine's clock and an nsqd's differ by two seconds or more. Ages are corrected by the skew."
    ),
    "clock_unknown": (
        "The skew of an nsqd's clock cannot be measured over HTTP, so none of its messages expires by "
        "`max_age_s`."
    ),
    "clocks_agree": "The skew of an nsqd's clock that was reported is over.",
    "credentials_unusable": (
        "A certificate, key, secret or token has changed on disk and cannot be used. The one before stays in "
        "use."
    ),
    "dead_letter_replayed": (
        "Somebody has replayed a dead letter on the monitor page, and nsqd has confirmed it. "
        "`nsqkit dead replay` logs nothing."
    ),
    "dead_letter_without_record": (
        "The record did not fit into one NSQ message, so only the body was published; this line has the rest "
        "of the record as its fields."
    ),
    "dead_letters_collected": "A run with `--dev` has stored its dead letters.",
    "dead_letters_not_collected": "A run with `--dev` could not store its dead letters, or not all of them.",
    "dead_letters_not_found": (
        "`nsqkit dead collect` could not ask every nsqd or nsqlookupd; it asks again."
    ),
    "delivery_stalled": (
        "For a minute messages waited in a channel of an nsqd and RDY allowed more, but no consumer received "
        "one."
    ),
    "drain_grace_over": "`grace_s` is over and handlers still run: they are cancelled.",
    "drain_left_behind": (
        "Handlers still run at the end of the drain, in threads or as tasks that ignore their cancellation; "
        "nsqd delivers their messages again."
    ),
    "event_loop_blocked": (
        "Code has kept the event loop from turning for a second. Nothing else runs meanwhile: no other async "
        "handler, no TOUCH, no answer of the admin port."
    ),
    "event_loop_resumed": "The event loop turns again after `event_loop_blocked`.",
    "event_parked": "A relay has set an event aside, because nsqd can never take it; see `nsqkit outbox ls`.",
    "events_left_in_outbox": (
        "nsqd did not confirm the events of a handler with `once=`; a relay publishes them. The message is "
        "finished."
    ),
    "events_left_to_relay": (
        "nsqd did not confirm events that a program has committed with `outbox.add`; a relay publishes them "
        "after `outbox_lease_s`."
    ),
    "extension_failed": (
        "An extension's `on_settled` or `on_unhandled` raised, or its recorder of a message. The outcome of "
        "the message does not change."
    ),
    "feed_confirmed": "nsqd has confirmed a whole feed.",
    "feed_line_refused": "A line of a feed was not published.",
    "feed_stopped": "A feed was stopped before its end.",
    "feed_unread": "No handler of this run reads the topic or the events of a feed.",
    "feed_waits": "A feed could not be published and is tried again.",
    "files_changed": "`--reload` saw files change.",
    "handler_overran": "A handler returned after its timeout. What it returned counts.",
    "handler_stack": "The stack of a handler's exception; only with `log_level` `debug`.",
    "handler_stuck": "A handler still runs after its timeout and several cancellations: it swallows them.",
    "intake_blocked": (
        "nsqd refuses a dead letter or an event of a handler until a person acts. The handler takes no "
        "messages. After `probe_in_s` messages are tried one by one."
    ),
    "intake_paused": "A handler takes no messages for a while.",
    "intake_resumed": "One reason to pause is over; with `still` another one keeps the intake paused.",
    "intake_unblocked": "A trial after `intake_blocked` went well: the handler takes all messages again.",
    "kafka_away": "No broker of a route's Kafka can be reached; nsqkit connects again by itself.",
    "kafka_back": "Kafka answers again after `kafka_away`.",
    "kafka_batch_abandoned": (
        "Partitions were given to another member of the group before NSQ had confirmed the records that were "
        "read from them. The other member reads these records again."
    ),
    "kafka_not_committed": (
        "Offsets could not be committed when partitions were given up; their next owner reads records again."
    ),
    "kafka_producer_replaced": (
        "Kafka and a route's producer disagree about what was written last. A new producer goes on, and what "
        "was not confirmed is written again."
    ),
    "message_kept": (
        "A handler failed for an outage that is known already. The message has no outcome: it waits with "
        "TOUCH, and is handled again when the intake resumes."
    ),
    "log_lines_dropped": (
        "Nobody read standard error for a while, and too many lines waited: so many of the next ones were "
        "dropped."
    ),
    "left_running": (
        "Tasks or threads have not ended with the worker; the process ends without them, with exit code 1."
    ),
    "message_settled": (
        "A delivery has its outcome. Successes are logged only with `log_success`. It is a warning after an "
        "error, a dead letter or a lost lease, else info."
    ),
    "outcomes_repeated": (
        "On the console, instead of further lines `message_settled` or `message_kept`: how often an outcome "
        "has repeated, with the same error from the same place. It has `outcome`, `reason`, `error_type`, "
        "`at` and `detail` of the first line."
    ),
    "python_warning": "Python warns of something, such as a call that a library will not support for long.",
    "more_nsqd_failed": (
        "Further nsqd cannot be reached or have refused, after ten lines within a minute. Some are named."
    ),
    "nsqd_connected": "A handler is subscribed on an nsqd.",
    "nsqd_refused": (
        "An nsqd answered with an error that a person has to correct. It is tried again every 15 s."
    ),
    "nsqd_unreachable": "An nsqd cannot be reached, or closed the connection. It is tried again.",
    "nsqlookupd_failed": "An nsqlookupd did not answer. It is asked again.",
    "outbox_not_heard": (
        "A relay has lost the connection on which it hears commits (`outbox_notify`). It looks for events "
        "once a second."
    ),
    "outbox_not_marked": "Published events could not be marked as sent; a relay publishes them again.",
    "pause_not_passed_on": "`--workers`: a new worker does not know of a handler's pause; pause it again.",
    "paused_in_nsqd": "A handler's topic or channel is paused in an nsqd, which delivers nothing of it.",
    "rabbitmq_connected": "A route of a bridge is connected to its RabbitMQ, for the first time or again.",
    "rabbitmq_lost": "A route of a bridge has lost its connection to RabbitMQ; it connects again by itself.",
    "registration_failed": (
        "An nsqlookupd does not know all channels of the worker. It is tried again. The worker is not ready "
        "until one nsqlookupd knows them."
    ),
    "registrations_faulty": (
        "An nsqd has registered an address that cannot be used, and is skipped; or two nsqd have registered "
        "the same address, and only one of them is consumed."
    ),
    "relay_failed": "A relay could not use its database; it tries again.",
    "relay_waits": "nsqd did not confirm events of a relay; they are tried again when their lease is over.",
    "reload_failed": "`--reload`: the changed handlers do not load; the worker before them goes on.",
    "requeue_delay_clamped": "The delay asked for was above `max_requeue_delay_s`; that was used.",
    "resources_left_open": "Resources that are not closed at the stop: handlers that still run use them.",
    "replacement_failed": "`--workers`: a new worker ended before it was ready; the earlier one continues.",
    "route_blocked": (
        "A bridge's route waits for a person: a topic, queue or exchange does not exist, credentials are "
        "refused, or the store of dead letters cannot be written. Nothing is confirmed meanwhile. It tries "
        "again by itself."
    ),
    "route_continues": "A bridge's route goes on; `reason` says why it waited.",
    "route_opened": "A bridge's route is connected to Kafka or RabbitMQ.",
    "route_paused": "A bridge's route reads nothing: an operator says so, or its topic is at `max_depth`.",
    "route_resumed": "A reason to pause a bridge's route is over; without another one it reads again.",
    "route_waits": "A bridge's route waits for nsqd, Kafka or RabbitMQ, and tries again by itself.",
    "run_incomplete": "A feed is not complete, or a handler is blocked: the exit code is 1.",
    "saga_changed": "An instance of a saga is being compensated, or has reached its end.",
    "saga_needs_attention": (
        "A compensation of a saga cannot be done, or no worker knows the version of an instance: a person "
        "has to look at it; see `nsqkit saga show`."
    ),
    "settling_failed": "A defect in nsqkit, with its stack. The message is requeued.",
    "slot_lost": (
        "A handler still runs although the lease of its message is over. The worker takes in one message "
        "less until it ends."
    ),
    "stall_over": "A stall is over: a message was delivered, none waits, or the subscription has ended.",
    "subscription_hangs": (
        "A defect in nsqkit: for 15 minutes a subscription has shown no sign of life, while its nsqd answers "
        "over HTTP. `/healthz` answers 503 until it shows one."
    ),
    "systemd_unreachable": "systemd asks for the state of the service, and its socket cannot be reached.",
    "suspect_started": (
        "A message whose earlier deliveries had no outcome now runs alone in its worker. If this is the last "
        "line of a process, the message has ended it."
    ),
    "tail_follows": "`nsqkit tail` shows messages of this nsqd.",
    "tail_waits": "`nsqkit tail` cannot follow this nsqd yet; it tries again.",
    "topic_absent": (
        "An nsqd says that it does not have a topic for which nsqlookupd names it, or a dead-letter topic "
        "that it had before: it was deleted. The worker is ready, and subscribes soon after the nsqd has it."
    ),
    "topic_has_producer": "An nsqd now has a topic that none had before.",
    "too_many_nsqd": "nsqlookupd names more nsqd than a handler connects to; the rest is left out.",
    "topic_without_producer": (
        "nsqlookupd names no nsqd that has a handler's topic. The worker is ready and waits for it."
    ),
    "traces_not_flushed": "The last spans could not be exported in time at the end of the worker.",
    "traces_unavailable": (
        "`OTEL_*` variables ask for traces, but the extra is not installed: `pip install 'nsqkit[otel]'`."
    ),
    "unpaused_in_nsqd": "A topic or channel is no longer paused in an nsqd.",
    "value_dropped": (
        "At the start: a statement of a handler creates an outcome and does not return it, or calls a "
        "coroutine function without `await`."
    ),
    "waiting_until_idle": "`--exit-when-idle` still finds messages to handle or to collect.",
    "worker_ended": "A worker process of `--workers` or `--reload` has ended by itself.",
    "worker_failed": "`--workers`: a worker has ended before it was ready, so all workers end.",
    "worker_killed": "`--workers`: a worker did not end in time; nsqd delivers its messages again.",
    "worker_memory_high": "`--workers`: a worker is above `max_worker_memory_mb` and is replaced.",
    "worker_ready": "Every handler is subscribed on every nsqd that is named or found.",
    "worker_started": "Resources are open, and the handlers begin to connect.",
    "worker_stopped": "The drain is over and resources are closed.",
    "worker_stopping": "The drain begins. With messages in flight, `hint` says for how long it may take.",
    "worker_unreadable": "`--workers`: a worker has sent something unreadable to its parent, which ends it.",
    "workers_ready": "`--workers`: all workers are ready.",
    "workers_replaced": "`--workers`: SIGHUP has replaced all workers.",
    "workers_replacing": "`--workers`: SIGHUP replaces the workers, one at a time.",
}

FIELDS: Final = {
    "action": "Type of the event: what the handler has to do.",
    "after_s": "Seconds that a worker had to end.",
    "at": "File and line of the innermost frame of the team's own code.",
    "attempts": "Deliveries so far, this one included.",
    "blocked_s": "Seconds by which the event loop is late: until now, or in all.",
    "channel": "The handler's channel; null if it is about the whole topic.",
    "channels": "Topic and channel of each.",
    "database": "Name of the database.",
    "dead_letter": "Number of a dead letter in the store.",
    "deferred": "Messages of the handlers that nsqd delivers later; null if it does not answer.",
    "category": "Class of the warning.",
    "count": "How many log lines were dropped, outcomes repeated, or events of an outbox are concerned.",
    "delay_s": "Delay of a requeue, in seconds.",
    "depth": "Messages that wait in the channel.",
    "detail": "One line about the error or from the outcome, with secrets masked.",
    "error": "What went wrong, as one line.",
    "error_type": "Class of the exception.",
    "event_id": "The envelope's `id`.",
    "exit_code": "Of the worker process.",
    "failures": "Failed calls so far.",
    "feed": "File of the feed.",
    "files": "Files that changed.",
    "for_s": "Seconds of the pause, null without an end; or in which outcomes have repeated.",
    "function": "The innermost function of the stack, with its module.",
    "grace_s": "The setting.",
    "handler": "Class name of the handler; null if none is involved.",
    "handlers": "Class names of the handlers.",
    "held": "Messages received and not settled.",
    "exception": "The end of the stack trace, redacted.",
    "hint": "What it means, or where to look.",
    "host": "IP address on which the admin port listens.",
    "found": "How many nsqd nsqlookupd names.",
    "hook": "The hook of the extension.",
    "in_flight": "Messages of the handlers that this worker and others hold; null if nsqd does not answer.",
    "latency_ms": "From receipt to outcome, in milliseconds.",
    "left": "Messages to collect.",
    "left_behind": "Messages whose handlers still ran at the end.",
    "line": "Number of the line in the feed's file.",
    "look": "The command that shows the dead letters.",
    "max_attempts": "After so many attempts a message that fails is a dead letter.",
    "max_worker_memory_mb": "The setting.",
    "message_id": "nsqd's id; unique only together with topic and nsqd.",
    "messages": "How many messages it is about.",
    "more": "How many there are in addition.",
    "most": "How many are used.",
    "next": "What happens next.",
    "next_line": "Line of the feed's file to continue at.",
    "next_requeue_s": (
        "Seconds until the first of the messages that this worker requeued with a delay is due, or null. It "
        "is not known for messages of other workers and of producers."
    ),
    "nsqd": "`host:port` of the nsqd.",
    "nsqlookupd": "`host:port` of the nsqlookupd.",
    "outcome": "One of the outcomes above.",
    "partitions": "Numbers of partitions of a Kafka topic.",
    "pid": "Number of the process.",
    "probe_in_s": "Seconds until messages are tried; 15 at first, growing to 300.",
    "published": "Lines of a feed that nsqd has confirmed.",
    "queued": "Messages of the handlers that wait in nsqd; null if it does not answer.",
    "rabbitmq": "Host and port of a RabbitMQ.",
    "reason": "One of the reasons above; of a refusal, what is wrong.",
    "refused": "Lines of a feed that were not published.",
    "remote": "IP address of the browser.",
    "request_id": (
        "The same for all messages of a request: the envelope's `requestid`, else its `correlationid`, else "
        "its `id`."
    ),
    "resident_mb": "Resident memory of the worker process, in MB.",
    "resources": "Names of resources.",
    "restart_in_s": "Seconds until another worker is started in its place.",
    "retry_in_s": "Seconds until the next try.",
    "key": "Key of an instance of a saga.",
    "saga": "Name of a saga.",
    "servers": "`host:port` of Kafka's brokers, separated by commas.",
    "status": "State of an instance of a saga.",
    "row": "Number of an event in the outbox.",
    "running": "Names of tasks and threads.",
    "setting": "The setting to change.",
    "silent_s": "Seconds since the last sign of life.",
    "similar": "Topics with a similar name that an nsqd has.",
    "skew_s": "Seconds by which this machine's clock is ahead; negative if it is behind.",
    "stalled_s": "Seconds since the worker first saw that nothing was delivered.",
    "still": "The reason that keeps the intake paused, or null.",
    "socket": "The value of `NOTIFY_SOCKET`.",
    "stored": "Dead letters stored.",
    "target": "Topic to which a dead letter was published again.",
    "task": "What the task does, and for which part of the worker.",
    "timeout_s": "The handler's timeout, in seconds.",
    "topic": "The handler's source topic, also for a replayed message.",
    "url": "Where metrics are served.",
    "wait_s": "Seconds until the call is made again.",
    "worker": "Number of the worker process with `--workers`, from 1.",
    "workers": "How many worker processes there are.",
}
