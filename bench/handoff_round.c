/* SPDX-License-Identifier: BSD-2-Clause */
#include "handoff_round.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "futex.h"
#include "futex_meter.h"
#include "handoff_payload.h"
#include "load_clock.h"

/* Beyond its duration a round may last so long before it counts as stuck. */
#define STUCK_NS (30 * NS_PER_S)

/* What a participant tells at its end. Written by it alone, read after it. */
struct report {
    _Alignas(128) uint64_t jobs;
    uint64_t marks; /* sum of payload_mark over the jobs */
    uint64_t cpu_ns;
    uint64_t switches;
    uint64_t futex_calls; /* if they are metered */
    uint64_t end_ns;
};

struct round_shm {
    _Atomic uint32_t ready;                /* participants that wait at the gate */
    _Atomic uint32_t gate;                 /* 1: open */
    _Atomic uint32_t sent_all;             /* producers that have nothing more to send or await */
    _Atomic uint32_t stopped_share;        /* producers that have sent their share of workers home */
    _Alignas(128) _Atomic uint32_t enough; /* 1: time is up; read by producers before each job */
    _Alignas(128) uint64_t asked_ns; /* when the one job in flight was begun; by the producer, read by the worker */
    struct histogram taken_ns;       /* by the worker */
    struct histogram answered_ns;    /* by the producer */
    struct report reports[ROUND_MAX_PARTICIPANTS]; /* the producers', then the workers' */
};

/* What a participant measures itself with. */
struct meter {
    uint64_t cpu_ns, switches;
    int futex_fd; /* or below 0 */
};

static void meter_read(struct meter *meter_out)
{
    struct timespec cpu;
    struct rusage usage;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    (void)getrusage(RUSAGE_SELF, &usage);
    meter_out->cpu_ns = (uint64_t)cpu.tv_sec * NS_PER_S + (uint64_t)cpu.tv_nsec;
    meter_out->switches = (uint64_t)usage.ru_nvcsw + (uint64_t)usage.ru_nivcsw;
}

static void meter_start(const struct round_plan *plan, struct meter *meter_out)
{
    meter_out->futex_fd = plan->futex_metered ? futex_meter_open() : -1;
    meter_read(meter_out);
}

static void meter_report(const struct meter *start, struct report *report)
{
    struct meter end;

    meter_read(&end);
    if (start->futex_fd >= 0) {
        report->futex_calls = futex_meter_read(start->futex_fd);
        (void)close(start->futex_fd);
    }
    report->cpu_ns = end.cpu_ns - start->cpu_ns;
    report->switches = end.switches - start->switches;
    report->end_ns = load_clock_ns();
}

/* -- in the participants ---------------------------------------------------- */

__attribute__((noreturn)) static void participant_fail(const struct round_plan *plan, const char *what, uint64_t header)
{
    (void)fprintf(stderr, "handoff: %s: %s, header %" PRIx64 "\n", plan->transport->name, what, header);
    exit(EXIT_FAILURE);
}

/* Returns CPU_SETSIZE when there are not so many. */
static size_t nth_allowed_cpu(const cpu_set_t *allowed, int n)
{
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, allowed) && n-- == 0)
            return cpu;
    return CPU_SETSIZE;
}

/* Nothing is pinned when there is one processor only. */
static void participant_pin(const struct round_plan *plan, bool is_worker)
{
    const bool second = plan->placement == PLACEMENT_SAME || is_worker != (plan->placement == PLACEMENT_SWAPPED);
    cpu_set_t allowed, pinned;
    size_t cpu;

    if (plan->placement == PLACEMENT_FREE || sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
        return;
    cpu = nth_allowed_cpu(&allowed, second ? 1 : 0);
    if (cpu == CPU_SETSIZE)
        return;
    CPU_ZERO(&pinned);
    CPU_SET(cpu, &pinned);
    (void)sched_setaffinity(0, sizeof(pinned), &pinned);
}

/* Everybody starts at once, when all are there. */
static void participant_await_gate(const struct round_plan *plan, struct round_shm *shm, struct meter *meter_out)
{
    (void)atomic_fetch_add(&shm->ready, 1);
    futex_wake(&shm->ready, 1);
    while (atomic_load(&shm->gate) == 0)
        futex_wait(&shm->gate, 0, NULL);
    meter_start(plan, meter_out);
}

/* A producer's state of the round. */
struct producer {
    const struct round_plan *plan;
    struct round_shm *shm;
    void *end; /* of the queue */
    uint32_t index;
    uint64_t sent, oldest; /* jobs; those between await their reply */
    bool *answered;        /* of these, by number modulo the window */
};

static void producer_send(struct producer *producer)
{
    const struct transport *const transport = producer->plan->transport;

    payload_write(transport->begin_request(producer->end), producer->plan->shape.bytes,
                  payload_header(producer->index, producer->sent));
    transport->send_request(producer->end);
    producer->sent++;
}

/* Takes one reply, which may be any of those awaited. */
static void producer_take_reply(struct producer *producer)
{
    const struct round_plan *const plan = producer->plan;
    const uint64_t *const reply = plan->transport->take_reply(producer->end);
    const uint64_t header = payload_reply_header(reply[0]), number = payload_number(header);

    if (payload_producer(header) != producer->index || number < producer->oldest || number >= producer->sent ||
        producer->answered[number % plan->shape.window])
        participant_fail(plan, "a reply that nobody awaits", reply[0]);
    if (!payload_is(reply, plan->shape.bytes, payload_reply_header(header)))
        participant_fail(plan, "a wrong byte in a reply", reply[0]);
    plan->transport->end_reply(producer->end);
    producer->answered[number % plan->shape.window] = true;
}

static void producer_await_oldest(struct producer *producer)
{
    bool *const answered = &producer->answered[producer->oldest % producer->plan->shape.window];

    while (!*answered)
        producer_take_reply(producer);
    *answered = false;
    producer->oldest++;
}

static bool producer_goes_on(const struct producer *producer, uint64_t jobs)
{
    return producer->sent < jobs && atomic_load_explicit(&producer->shm->enough, memory_order_relaxed) == 0;
}

static void producer_fire(struct producer *producer, uint64_t jobs)
{
    while (producer_goes_on(producer, jobs))
        producer_send(producer);
}

static void producer_ask(struct producer *producer, uint64_t jobs)
{
    while (producer_goes_on(producer, jobs)) {
        if (producer->sent - producer->oldest == producer->plan->shape.window)
            producer_await_oldest(producer);
        producer_send(producer);
    }
    while (producer->oldest < producer->sent)
        producer_await_oldest(producer);
}

/* One job at a time, after a pause in which everybody falls asleep. */
static void producer_ask_timed(struct producer *producer, uint64_t jobs)
{
    const struct timespec pause = {.tv_nsec = 1000L * producer->plan->pause_us};

    while (producer_goes_on(producer, jobs)) {
        if (pause.tv_nsec > 0)
            (void)nanosleep(&pause, NULL);
        producer->shm->asked_ns = load_clock_ns();
        producer_send(producer);
        producer_await_oldest(producer);
        histogram_record(&producer->shm->answered_ns, load_clock_ns() - producer->shm->asked_ns);
    }
}

/* Sleeps until a counter that only grows has come to `wanted`. */
static void participant_await(_Atomic uint32_t *counter, uint32_t wanted)
{
    for (uint32_t seen = atomic_load(counter); seen < wanted; seen = atomic_load(counter))
        futex_wait(counter, seen, NULL);
}

static void participant_count(_Atomic uint32_t *counter)
{
    (void)atomic_fetch_add(counter, 1);
    futex_wake(counter, UINT16_MAX);
}

/* When nobody sends any more, each producer sends its share of workers home,
 * one producer after the other: stops that are filled out of order could leave
 * a worker of a bare ring asleep. Whom the later stop wakes finds the earlier
 * one not there yet and sleeps again; the earlier one then wakes one worker,
 * who goes home with it and never looks at the later. */
static void producer_stop_workers(const struct producer *producer)
{
    const struct shape *const shape = &producer->plan->shape;
    struct round_shm *const shm = producer->shm;

    participant_count(&shm->sent_all);
    participant_await(&shm->sent_all, shape->producers);
    participant_await(&shm->stopped_share, producer->index);
    for (uint32_t worker = producer->index; worker < shape->workers; worker += shape->producers)
        producer->plan->transport->send_stop(producer->end);
    participant_count(&shm->stopped_share);
}

static uint64_t marks_of(uint32_t producer, uint64_t jobs)
{
    uint64_t sum = 0;

    for (uint64_t number = 0; number < jobs; number++)
        sum += payload_mark(payload_header(producer, number));
    return sum;
}

static void producer_main(const struct round_plan *plan, void *queue, struct round_shm *shm, uint32_t index)
{
    const uint64_t jobs = plan->jobs / plan->shape.producers + (index < plan->jobs % plan->shape.producers ? 1 : 0);
    struct producer producer = {.plan = plan, .shm = shm, .index = index};
    struct meter meter;

    participant_pin(plan, false);
    producer.answered = transport_allocate("handoff", plan->shape.window + 1);
    producer.end = plan->transport->open_producer(queue, index);
    participant_await_gate(plan, shm, &meter);
    if (plan->timed)
        producer_ask_timed(&producer, jobs);
    else if (plan->shape.window > 0)
        producer_ask(&producer, jobs);
    else
        producer_fire(&producer, jobs);
    meter_report(&meter, &shm->reports[index]);
    producer_stop_workers(&producer);
    shm->reports[index].jobs = producer.sent;
    shm->reports[index].marks = marks_of(index, producer.sent);
    plan->transport->close_producer(producer.end);
    free(producer.answered);
}

static void worker_answer(const struct round_plan *plan, void *end, uint64_t header)
{
    if (plan->shape.window == 0) {
        plan->transport->end_request(end);
        return;
    }
    payload_write(plan->transport->begin_reply(end, payload_producer(header)), plan->shape.bytes,
                  payload_reply_header(header));
    plan->transport->send_reply(end);
}

static void worker_work(const struct round_plan *plan, void *end, struct round_shm *shm, struct report *report)
{
    for (;;) {
        const uint64_t *const request = plan->transport->take_request(end);
        const uint64_t header = request[0];

        if (header == PAYLOAD_STOP)
            break;
        if (plan->timed)
            histogram_record(&shm->taken_ns, load_clock_ns() - shm->asked_ns);
        if (payload_producer(header) >= plan->shape.producers || !payload_is(request, plan->shape.bytes, header))
            participant_fail(plan, "a wrong byte in a request", header);
        report->jobs++;
        report->marks += payload_mark(header);
        worker_answer(plan, end, header);
    }
    plan->transport->end_request(end);
}

static void worker_main(const struct round_plan *plan, void *queue, struct round_shm *shm, uint32_t index)
{
    struct report *const report = &shm->reports[plan->shape.producers + index];
    struct meter meter;
    void *end;

    participant_pin(plan, true);
    end = plan->transport->open_worker(queue, index);
    participant_await_gate(plan, shm, &meter);
    worker_work(plan, end, shm, report);
    meter_report(&meter, report);
    plan->transport->close_worker(end);
}

/* -- in the parent ------------------------------------------------------------ */

struct crew {
    pid_t pids[ROUND_MAX_PARTICIPANTS];
    uint32_t hired, living;
    bool failed;
};

static bool crew_hire(struct crew *crew, const struct round_plan *plan, void *queue, struct round_shm *shm)
{
    const uint32_t index = crew->hired;
    const pid_t parent = getpid();
    const pid_t pid = fork();

    if (pid < 0) {
        (void)fprintf(stderr, "handoff: fork: %s\n", strerror(errno));
        return false;
    }
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(EXIT_FAILURE);
        if (index < plan->shape.producers)
            producer_main(plan, queue, shm, index);
        else
            worker_main(plan, queue, shm, index - plan->shape.producers);
        _exit(EXIT_SUCCESS);
    }
    crew->pids[crew->hired++] = pid;
    crew->living++;
    return true;
}

/* Reaps who has ended. */
static void crew_reap(struct crew *crew)
{
    for (uint32_t i = 0; i < crew->hired; i++) {
        int status;

        if (crew->pids[i] == 0 || waitpid(crew->pids[i], &status, WNOHANG) <= 0)
            continue;
        crew->pids[i] = 0;
        crew->living--;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS)
            crew->failed = true;
    }
}

static void crew_kill(struct crew *crew)
{
    for (uint32_t i = 0; i < crew->hired; i++) {
        if (crew->pids[i] == 0)
            continue;
        (void)kill(crew->pids[i], SIGKILL);
        (void)waitpid(crew->pids[i], NULL, 0);
        crew->pids[i] = 0;
    }
    crew->living = 0;
    crew->failed = true;
}

/* Sleeps until the word is `wanted`, the deadline, or a participant has failed. */
static bool crew_await(struct crew *crew, const _Atomic uint32_t *word, uint32_t wanted, uint64_t deadline_ns)
{
    for (;;) {
        const uint32_t seen = atomic_load(word);
        const uint64_t now_ns = load_clock_ns();
        const uint64_t nap_ns = deadline_ns - now_ns < 100000000 ? deadline_ns - now_ns : 100000000;

        if (seen == wanted)
            return true;
        if (now_ns >= deadline_ns || crew->failed)
            return false;
        futex_wait(word, seen, &(struct timespec){.tv_nsec = (long)nap_ns});
        crew_reap(crew);
    }
}

static bool crew_await_end(struct crew *crew, uint64_t deadline_ns)
{
    const struct timespec nap = {.tv_nsec = 1000000};

    for (;;) {
        crew_reap(crew);
        if (crew->living == 0 || crew->failed)
            return !crew->failed;
        if (load_clock_ns() >= deadline_ns) {
            (void)fprintf(stderr, "handoff: stuck\n");
            return false;
        }
        (void)nanosleep(&nap, NULL);
    }
}

static bool crew_work(struct crew *crew, const struct round_plan *plan, struct round_shm *shm, uint64_t *start_ns_out)
{
    if (!crew_await(crew, &shm->ready, crew->hired, load_clock_ns() + STUCK_NS))
        return false;
    *start_ns_out = load_clock_ns();
    atomic_store(&shm->gate, 1);
    futex_wake(&shm->gate, UINT16_MAX);
    (void)crew_await(crew, &shm->sent_all, plan->shape.producers, *start_ns_out + plan->duration_ns);
    atomic_store(&shm->enough, 1);
    return crew_await_end(crew, load_clock_ns() + STUCK_NS);
}

static int round_sum(const struct round_plan *plan, const struct round_shm *shm, uint64_t start_ns,
                     struct round_result *result)
{
    uint64_t sent = 0, sent_marks = 0, marks = 0;

    for (uint32_t i = 0; i < plan->shape.producers + plan->shape.workers; i++) {
        const struct report *const report = &shm->reports[i];

        *(i < plan->shape.producers ? &sent : &result->jobs) += report->jobs;
        *(i < plan->shape.producers ? &sent_marks : &marks) += report->marks;
        result->cpu_ns += report->cpu_ns;
        result->switches += report->switches;
        result->futex_calls += report->futex_calls;
        if (report->end_ns - start_ns > result->wall_ns)
            result->wall_ns = report->end_ns - start_ns;
    }
    result->taken_ns = shm->taken_ns;
    result->answered_ns = shm->answered_ns;
    if (sent == result->jobs && sent_marks == marks)
        return 0;
    (void)fprintf(stderr, "handoff: %s: %" PRIu64 " jobs were sent, %" PRIu64 " came%s\n", plan->transport->name, sent,
                  result->jobs, sent == result->jobs ? ", not the same" : "");
    return -1;
}

static bool round_hire_and_work(const struct round_plan *plan, void *queue, struct round_shm *shm,
                                uint64_t *start_ns_out)
{
    struct crew crew = {.hired = 0};
    bool worked = true;

    while (worked && crew.hired < plan->shape.producers + plan->shape.workers)
        worked = crew_hire(&crew, plan, queue, shm);
    worked = worked && crew_work(&crew, plan, shm, start_ns_out);
    if (!worked)
        crew_kill(&crew);
    return worked;
}

/* What the transport itself has counted. */
static uint64_t round_count_futex_calls(const struct round_plan *plan, void *queue)
{
    return plan->transport->futex_calls != NULL ? plan->transport->futex_calls(queue) : ROUND_UNCOUNTED;
}

int round_run(const struct round_plan *plan, struct round_result *result_out)
{
    struct round_shm *const shm = transport_map_shared("handoff", sizeof(*shm));
    void *const queue = plan->transport->create(&plan->shape);
    uint64_t start_ns = 0;
    int rc = -1;

    memset(result_out, 0, sizeof(*result_out));
    if (round_hire_and_work(plan, queue, shm, &start_ns)) {
        rc = round_sum(plan, shm, start_ns, result_out);
        if (!plan->futex_metered)
            result_out->futex_calls = round_count_futex_calls(plan, queue);
    }
    plan->transport->destroy(queue);
    transport_unmap(shm, sizeof(*shm));
    return rc;
}
