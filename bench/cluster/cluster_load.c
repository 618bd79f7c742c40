/* Types into documents through one node or several, and prints what it saw as JSON.
 *
 *     cluster_load key=value ... -- TOKEN ...
 *
 * `ports` and `pids` (with commas) are the nodes', which listen on 127.0.0.1; `redis` is the
 * process id of the Redis that they share, if any, and `beside` that of a process which is no
 * disturbance. `clients` is per document, the first `writers`
 * of them type; `chars` is the size of the initial text. Clients of one document take the nodes
 * in turn; with `by=documents` they are all at one node, and documents take the nodes in turn;
 * with `by=roles` writers are at the first node and all others at the last. Clients take the tokens in turn. `warm` and `seconds` say how long.
 *
 * Each writer has one character in flight: the next is sent when that one is acknowledged and
 * was seen. With `rate` that many are due per second, of all writers together and of each in
 * turn; times count from then, also when the writer still waits for the one before.
 *
 * Every client must see every version, each author's characters once and in order, and the same
 * history at every node, else this fails. */

#define _GNU_SOURCE
#include "cluster_load.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../engine/measuring.h"

enum { EVENTS = 256, MAX_NODES = 8, MAX_CHARS = 10000 };
static const double SETTLE_S = 60, LOOK_S = 50e-6;

/* Seconds of CPU, but for wall; machine is the time of all processes together. */
typedef struct {
    double wall, own, redis, beside, machine, nodes[MAX_NODES];
} Clocks;

static struct {
    int ports[MAX_NODES], pids[MAX_NODES], nodes;
    int redis, beside, documents, clients, writers, chars;
    double rate, warm, seconds;
    enum { BY_CLIENTS, BY_DOCUMENTS, BY_ROLES } by;
    char **tokens;
    int token_count;
} plan = {.documents = 1, .clients = 2, .chars = 500, .warm = 1, .seconds = 4};

static Document *documents;
static Client *clients;
static Client **writers; /* in the order in which they are due */
static int total, writer_count, epoll;
static bool measuring;
static enum { JOINING, TYPING, STOPPING } state;
static double next_due, woken_at, looked_at, longest_gap;
static long due_count, messages, deliveries, late, skipped;
static size_t half_way; /* how many were seen by all in the first half of the time */
static Samples acks, seen_here, seen_there, seen_by_all;

/* How long all processors together ran something: the kernel measures how long they did not,
 * and only samples what they did. */
static double machine_seconds(void) {
    unsigned long long idle, waiting;
    FILE *file = fopen("/proc/stat", "r");
    if (!file || fscanf(file, "cpu %*u %*u %*u %llu %llu", &idle, &waiting) != 2)
        die("no /proc/stat");
    fclose(file);
    double unused = (double)(idle + waiting) / (double)sysconf(_SC_CLK_TCK);
    return now() * (double)sysconf(_SC_NPROCESSORS_ONLN) - unused;
}

static Clocks read_clocks(void) {
    Clocks clocks = {.wall = now(), .own = seconds(CLOCK_PROCESS_CPUTIME_ID)};
    clocks.machine = machine_seconds();
    clocks.redis = plan.redis ? cpu_seconds(plan.redis) : 0;
    clocks.beside = plan.beside ? cpu_seconds(plan.beside) : 0;
    for (int i = 0; i < plan.nodes; i++)
        clocks.nodes[i] = cpu_seconds(plan.pids[i]);
    return clocks;
}

static Clocks between(Clocks began, Clocks ended) {
    Clocks spent = {ended.wall - began.wall,
                    ended.own - began.own,
                    ended.redis - began.redis,
                    ended.beside - began.beside,
                    ended.machine - began.machine,
                    {0}};
    for (int i = 0; i < plan.nodes; i++)
        spent.nodes[i] = ended.nodes[i] - began.nodes[i];
    return spent;
}

static double of_nodes(Clocks spent) {
    double sum = 0;
    for (int i = 0; i < plan.nodes; i++)
        sum += spent.nodes[i];
    return sum;
}

Client *client_of(const Document *document, int index) {
    int number = index - document->number * plan.clients;
    return number >= 0 && number < plan.clients ? &clients[index] : NULL;
}

void saw(Client *client, Client *author, long nth) {
    deliveries += measuring;
    if (client == author) {
        client->awaits_entry = false;
        return;
    }
    Flight *flight = &author->flights[nth % IN_FLIGHT];
    double took = woken_at - flight->due_at;
    flight->missing--;
    if (!measuring)
        return;
    samples_add(client->node == author->node ? &seen_here : &seen_there, took);
    if (flight->missing == 0)
        samples_add(&seen_by_all, took);
}

void acknowledged(Client *client) {
    if (!client->awaits_ack)
        die("client %d got an acknowledgement too many", client->index);
    client->awaits_ack = false;
    client->accepted++;
    if (measuring)
        samples_add(&acks, woken_at - client->due_at);
}

static bool is_busy(const Client *client) { return client->awaits_ack || client->awaits_entry; }

static void type(Client *client, double due_at) {
    Flight *flight = &client->flights[++client->typed % IN_FLIGHT];
    if (flight->missing)
        die("a client is %d characters behind", IN_FLIGHT);
    *flight = (Flight){client->due_at = due_at, plan.clients - 1};
    client->awaits_ack = client->awaits_entry = true;
    client->is_late = false;
    wire_type(client);
}

static void go_on(Client *client) {
    bool more;
    do {
        Message message;
        more = websocket_receive(&client->socket);
        woken_at = now();
        while (websocket_next(&client->socket, &message)) {
            messages += measuring;
            wire_take(client, message);
        }
    } while (more);
    if (state != TYPING || client->number >= plan.writers || is_busy(client))
        return;
    if (client->is_late)
        type(client, client->due_at);
    else if (!plan.rate)
        type(client, now());
}

/* Let those type whose time has come; whoever still waits does so late. */
static void type_what_is_due(double time) {
    while (next_due <= time) {
        Client *client = writers[due_count++ % writer_count];
        if (!is_busy(client)) {
            type(client, next_due);
        } else if (client->is_late) {
            skipped += measuring;
        } else {
            late += measuring;
            client->is_late = true;
            client->due_at = next_due;
        }
        next_due += 1 / plan.rate;
    }
}

static bool settled(void) {
    for (int i = 0; i < total; i++)
        if (is_busy(&clients[i]) || clients[i].version != clients[i].document->version)
            return false;
    return true;
}

/* Take what has come, waiting for it until then.
 *
 * It looks now and then, as often as a network card interrupts under load, instead of waiting in
 * epoll: otherwise each write of a node would pay for waking this process, which on one machine
 * costs as much as the write itself and with clients elsewhere is nothing of the node's. */
static void serve(double until) {
    struct epoll_event events[EVENTS];
    int ready;
    while (!(ready = epoll_wait(epoll, events, EVENTS, 0))) {
        double left = until - now();
        if (left <= 0)
            return;
        nanosleep(&(struct timespec){0, (long)(1e9 * (left < LOOK_S ? left : LOOK_S))}, NULL);
    }
    for (int i = 0; i < ready; i++)
        go_on(events[i].data.ptr);
}

static void run_until(double deadline) {
    for (double time; (time = now()) < deadline && !(state == STOPPING && settled());) {
        if (measuring && looked_at && time - looked_at > longest_gap)
            longest_gap = time - looked_at;
        looked_at = time;
        double until = time + 0.05 < deadline ? time + 0.05 : deadline;
        if (state == TYPING && plan.rate) {
            type_what_is_due(time);
            until = until < next_due ? until : next_due;
        }
        serve(until);
    }
}

static int node_of(const Client *client) {
    switch (plan.by) {
    case BY_DOCUMENTS:
        return client->document->number % plan.nodes;
    case BY_ROLES:
        return client->number < plan.writers ? 0 : plan.nodes - 1;
    default:
        return client->number % plan.nodes;
    }
}

static char *initial_text(void) {
    char *text = malloc((size_t)plan.chars + 1);
    if (!text)
        die("no memory");
    for (int i = 0; i < plan.chars; i++)
        text[i] = (char)('0' + i % 10);
    text[plan.chars] = 0;
    return text;
}

static void connect_one(int index, const char *text) {
    Client *client = &clients[index];
    client->index = index;
    client->document = &documents[index / plan.clients];
    client->number = index % plan.clients;
    client->node = node_of(client);
    client->caret = (long)plan.chars * (client->number + 1) / (plan.clients + 1);
    websocket_connect(&client->socket, plan.ports[client->node],
                      "/socket.io/?EIO=4&transport=websocket");
    wire_join(client, plan.tokens[index % plan.token_count], text);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->socket.fd, &event))
        die("cannot watch a socket");
    serve(0); /* the others are pinged meanwhile */
}

static void connect_all(void) {
    char *text = initial_text();
    documents = calloc((size_t)plan.documents, sizeof *documents);
    clients = calloc((size_t)total, sizeof *clients);
    writers = calloc((size_t)writer_count, sizeof *writers);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!documents || !clients || !writers || epoll < 0)
        die("no memory");
    for (int i = 0; i < plan.documents; i++)
        documents[i].number = i;
    for (int i = 0; i < total; i++)
        connect_one(i, text);
    for (int i = 0; i < writer_count; i++)
        writers[i] = &clients[i % plan.documents * plan.clients + i / plan.documents];
    free(text);
}

static long accepted_by_all(void) {
    long sum = 0;
    for (int i = 0; i < total; i++)
        sum += clients[i].accepted;
    return sum;
}

static void print_times(const char *name, Samples *samples) {
    samples_sort(samples);
    printf("\"%s_p50_us\": %.1f, \"%s_p95_us\": %.1f, \"%s_p99_us\": %.1f, \"%s_max_us\": %.1f, ",
           name, percentile_us(samples, 0.5), name, percentile_us(samples, 0.95), name,
           percentile_us(samples, 0.99), name, percentile_us(samples, 1));
}

/* Whether it takes longer and longer until all have seen something. */
static void print_halves(void) {
    Samples second = {seen_by_all.values + half_way, seen_by_all.count - half_way, 0};
    Samples first = {seen_by_all.values, half_way, 0};
    samples_sort(&first);
    samples_sort(&second);
    printf("\"all_first_half_p95_us\": %.1f, \"all_second_half_p95_us\": %.1f, ",
           percentile_us(&first, 0.95), percentile_us(&second, 0.95));
}

static void print_documents(void) {
    for (int i = 0; i < total; i++) {
        const Document *document = clients[i].document;
        if (clients[i].number == 0)
            printf("%s{\"version\": %ld, \"hash\": \"%s\", \"accepted\": [", i ? ", " : "",
                   document->version, document->hash);
        printf("%ld%s", clients[i].accepted, clients[i].number < plan.clients - 1 ? ", " : "]}");
    }
}

static void print_figures(Clocks spent, long operations) {
    double count = (double)operations, nodes = of_nodes(spent);
    printf("{\"operations\": %ld, \"all_operations\": %ld, \"seconds\": %.6f, ", operations,
           accepted_by_all(), spent.wall);
    printf("\"ops_per_s\": %.1f, \"ops_per_cpu_s\": %.1f, \"cpu_us\": %.4f, ", count / spent.wall,
           count / nodes, 1e6 * nodes / count);
    printf("\"redis_cpu_us\": %.4f, ", 1e6 * spent.redis / count);
    print_halves();
    print_times("all", &seen_by_all);
    print_times("same_node", &seen_here);
    print_times("other_node", &seen_there);
    print_times("ack", &acks);
    printf("\"late\": %ld, \"skipped\": %ld, \"generator_gap_us\": %.1f, ", late, skipped,
           1e6 * longest_gap);
    printf("\"messages_per_op\": %.3f, \"deliveries_per_s\": %.1f, ", (double)messages / count,
           (double)deliveries / spent.wall);
    for (int i = 0; i < plan.nodes; i++)
        printf("\"node_%d_share\": %.4f, ", i + 1, spent.nodes[i] / spent.wall);
    printf("\"redis_share\": %.4f, \"generator_share\": %.4f, \"foreign_share\": %.4f, ",
           spent.redis / spent.wall, spent.own / spent.wall,
           (spent.machine - nodes - spent.redis - spent.own - spent.beside) / spent.wall);
    printf("\"beside_share\": %.4f, ", spent.beside / spent.wall);
    printf("\"documents\": [");
    print_documents();
    puts("]}");
}

static void measure(void) {
    long before = accepted_by_all();
    Clocks began = read_clocks();
    measuring = true;
    run_until(now() + plan.seconds / 2);
    half_way = seen_by_all.count;
    run_until(began.wall + plan.seconds);
    measuring = false;
    Clocks ended = read_clocks();
    long operations = accepted_by_all() - before;
    state = STOPPING;
    run_until(now() + SETTLE_S);
    if (!settled())
        die("not everybody saw everything within %g s", SETTLE_S);
    if (!operations)
        die("nothing was acknowledged");
    print_figures(between(began, ended), operations);
}

static int read_list(const char *value, int *items) {
    int count = 0;
    for (const char *at = value; at; at = strchr(at, ',')) {
        if (count == MAX_NODES)
            die("at most %d nodes", MAX_NODES);
        at += *at == ',';
        items[count++] = atoi(at);
    }
    return count;
}

static void read_setting(const char *key, const char *value) {
    struct {
        const char *name;
        int *whole;
        double *real;
    } settings[] = {
        {"redis", &plan.redis, NULL},         {"beside", &plan.beside, NULL},
        {"documents", &plan.documents, NULL}, {"clients", &plan.clients, NULL},
        {"writers", &plan.writers, NULL},     {"chars", &plan.chars, NULL},
        {"rate", NULL, &plan.rate},           {"warm", NULL, &plan.warm},
        {"seconds", NULL, &plan.seconds},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (!strcmp(settings[i].name, key)) {
            if (settings[i].whole)
                *settings[i].whole = atoi(value);
            else
                *settings[i].real = atof(value);
            return;
        }
    if (!strcmp(key, "ports"))
        plan.nodes = read_list(value, plan.ports);
    else if (!strcmp(key, "pids"))
        read_list(value, plan.pids);
    else if (!strcmp(key, "by"))
        plan.by = !strcmp(value, "documents") ? BY_DOCUMENTS
                  : !strcmp(value, "roles")   ? BY_ROLES
                                              : BY_CLIENTS;
    else
        die("there is no setting %s", key);
}

static void read_plan(int count, char **arguments) {
    int i = 1;
    for (; i < count && strcmp(arguments[i], "--"); i++) {
        char *equals = strchr(arguments[i], '=');
        if (!equals)
            die("%s is not key=value", arguments[i]);
        *equals = 0;
        read_setting(arguments[i], equals + 1);
    }
    plan.tokens = arguments + i + 1;
    plan.token_count = count - i - 1;
    if (plan.token_count < 1)
        die("usage: cluster_load key=value ... -- TOKEN ...");
    for (int node = 0; node < plan.nodes; node++)
        if (plan.ports[node] < 1 || plan.pids[node] < 1)
            die("as many process ids as ports are needed");
    if (plan.nodes < 1 || plan.documents < 1 || plan.clients < 2)
        die("at least one node, one document and two clients of each");
    if (plan.chars <= plan.clients || plan.chars > MAX_CHARS)
        die("more characters than clients, at most %d", MAX_CHARS);
    if (plan.writers < 1 || plan.writers > plan.clients)
        plan.writers = plan.clients;
}

int main(int count, char **arguments) {
    read_plan(count, arguments);
    total = plan.documents * plan.clients;
    writer_count = plan.documents * plan.writers;
    connect_all();
    state = TYPING;
    next_due = now();
    for (int i = 0; i < writer_count && !plan.rate; i++)
        type(writers[i], now());
    run_until(now() + plan.warm);
    measure();
    return 0;
}
