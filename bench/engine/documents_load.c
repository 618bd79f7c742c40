/* Types into documents on a server, in a closed loop, and prints what it saw as JSON.
 *
 *     documents_load PROTOCOL key=value ... -- TOKEN ...
 *
 * `port` and `pid` are the server's, which listens on 127.0.0.1; `clients` is per document,
 * `chars` the size of the initial text; `warm` and `seconds` say how long. Clients take the
 * tokens in turn. What is measured is the CPU clock of the server with its children.
 *
 * Each client has one character in flight: the next is sent when that one is acknowledged
 * (and, where the server sends it back, was seen). Every client must see every character of
 * every author once and in order, else this fails. */

#define _GNU_SOURCE
#include "documents_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "measuring.h"

enum { MESSAGE_SIZE = 4096, EVENTS = 256, MAX_CHARS = 10000 };
static const double SETTLE_S = 30;

/* Seconds; server_threads is the CPU time of all its threads but the main one. */
typedef struct {
    double wall, own, own_waited, server, server_waited, server_threads;
} Clocks;

static struct {
    int port, pid, documents, clients, chars;
    double warm, seconds;
    char **tokens;
    int token_count;
} plan = {.documents = 1, .clients = 2, .chars = 500, .warm = 1, .seconds = 4};

static const Protocol *protocol;
static Client *clients;
static int total;
static int epoll;
static bool measuring;
static enum { JOINING, TYPING, STOPPING } state;
static long messages, repeated;
static Samples acks, deliveries;

static Clocks read_clocks(void) {
    Scheduled own = scheduled(getpid()), server = scheduled(plan.pid);
    double cpu = cpu_seconds(plan.pid);
    return (Clocks){now(), seconds(CLOCK_PROCESS_CPUTIME_ID), own.waited,
                    cpu,   server.waited,                     cpu - server.ran};
}

static Clocks between(Clocks began, Clocks ended) {
    return (Clocks){ended.wall - began.wall,
                    ended.own - began.own,
                    ended.own_waited - began.own_waited,
                    ended.server - began.server,
                    ended.server_waited - began.server_waited,
                    ended.server_threads - began.server_threads};
}

/* How long other processes kept the server waiting; its own threads take turns as well. */
static double kept_waiting(Clocks spent) {
    double others = spent.server_waited - spent.server_threads;
    return others > 0 ? others : 0;
}

void saw(Client *client, int author, long nth) {
    if (author < 0 || author >= plan.clients)
        die("a character of nobody here");
    if (nth != ++client->seen[author])
        die("client %d saw character %ld of %d instead of %ld", client->index, nth, author,
            client->seen[author]);
    if (author == client->number)
        return;
    Client *sender = client - client->number + author;
    Flight *flight = &sender->flights[nth % IN_FLIGHT];
    if (--flight->missing == 0 && measuring)
        samples_add(&deliveries, now() - flight->sent_at);
}

void saw_again(void) { repeated += measuring; }

void acknowledged(Client *client) {
    if (!client->awaits_ack)
        die("client %d got an acknowledgement too many", client->index);
    client->awaits_ack = false;
    client->accepted++;
    if (measuring)
        samples_add(&acks, now() - client->sent_at);
}

static void type(Client *client) {
    static char message[MESSAGE_SIZE];
    client->typed++;
    Flight *flight = &client->flights[client->typed % IN_FLIGHT];
    if (flight->missing)
        die("a client is %d characters behind", IN_FLIGHT);
    int size = protocol->write_insert(client, message);
    client->awaits_ack = true;
    client->awaits_entry = protocol->sends_own_entry;
    client->sent_at = now();
    *flight = (Flight){client->sent_at, plan.clients - 1};
    websocket_send(&client->socket, protocol->opcode, message, (size_t)size);
}

static void go_on(Client *client) {
    bool more;
    do {
        Message message;
        more = websocket_receive(&client->socket);
        while (websocket_next(&client->socket, &message)) {
            messages += measuring;
            protocol->take(client, message);
        }
    } while (more);
    if (state == TYPING && !client->awaits_ack && !client->awaits_entry)
        type(client);
}

static bool settled(void) {
    for (int i = 0; i < total; i++) {
        const Client *client = &clients[i], *group = client - client->number;
        if (client->awaits_ack || client->awaits_entry)
            return false;
        for (int author = 0; author < plan.clients; author++)
            if (author != client->number && client->seen[author] != group[author].accepted)
                return false;
    }
    return true;
}

static void serve(int wait_ms) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(epoll, events, EVENTS, wait_ms);
    for (int i = 0; i < ready; i++)
        go_on(events[i].data.ptr);
}

static void run_until(double deadline) {
    for (double left; (left = deadline - now()) > 0 && !(state == STOPPING && settled());)
        serve(left < 0.05 ? 1 : 50);
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

static void connect_all(void) {
    char *text = initial_text();
    clients = calloc((size_t)total, sizeof *clients);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || epoll < 0)
        die("no memory");
    for (int i = 0; i < total; i++) {
        Client *client = &clients[i];
        client->index = i;
        client->document = i / plan.clients;
        client->number = i % plan.clients;
        client->letter = (char)('a' + client->number);
        client->caret = (long)plan.chars * (client->number + 1) / (plan.clients + 1);
        websocket_connect(&client->socket, plan.port, protocol->path);
        protocol->join(client, plan.tokens[i % plan.token_count], text);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->socket.fd, &event))
            die("cannot watch a socket");
        serve(0); /* the others are pinged meanwhile */
    }
    free(text);
}

static long accepted_by_all(void) {
    long sum = 0;
    for (int i = 0; i < total; i++)
        sum += clients[i].accepted;
    return sum;
}

static void print_figures(Clocks spent, long operations) {
    samples_sort(&acks);
    samples_sort(&deliveries);
    printf("{\"operations\": %ld, \"ops_per_s\": %.1f, \"cpu_us\": %.4f, ", operations,
           (double)operations / spent.wall, 1e6 * spent.server / (double)operations);
    printf("\"seen_p50_us\": %.1f, \"seen_p99_us\": %.1f, \"ack_p50_us\": %.1f, "
           "\"ack_p99_us\": %.1f, ",
           percentile_us(&deliveries, 0.5), percentile_us(&deliveries, 0.99),
           percentile_us(&acks, 0.5), percentile_us(&acks, 0.99));
    printf("\"messages_per_op\": %.3f, \"repeated_per_op\": %.3f, ",
           (double)messages / (double)operations, (double)repeated / (double)operations);
    printf("\"seconds\": %.6f, \"server_share\": %.4f, \"waited_share\": %.4f, "
           "\"generator_share\": %.4f, \"generator_waited_share\": %.4f, \"accepted\": [",
           spent.wall, spent.server / spent.wall, kept_waiting(spent) / spent.wall,
           spent.own / spent.wall, spent.own_waited / spent.wall);
    for (int i = 0; i < total; i++)
        printf("%s%ld%s", i % plan.clients ? ", " : i ? ", [" : "[", clients[i].accepted,
               i % plan.clients == plan.clients - 1 ? "]" : "");
    puts("]}");
}

static void measure(void) {
    long before = accepted_by_all();
    Clocks began = read_clocks();
    measuring = true;
    run_until(now() + plan.seconds);
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

static const Protocol *protocol_called(const char *name) {
    const Protocol *all[] = {&STRETTO, &SHAREDB, &HOCUSPOCUS};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i]->name, name))
            return all[i];
    die("no protocol %s", name);
}

static void read_setting(const char *key, const char *value) {
    struct {
        const char *name;
        int *whole;
        double *real;
    } settings[] = {
        {"port", &plan.port, NULL},           {"pid", &plan.pid, NULL},
        {"documents", &plan.documents, NULL}, {"clients", &plan.clients, NULL},
        {"chars", &plan.chars, NULL},         {"warm", NULL, &plan.warm},
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
    die("there is no setting %s", key);
}

static void read_plan(int count, char **arguments) {
    int i = 2;
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
        die("usage: documents_load PROTOCOL key=value ... -- TOKEN ...");
    if (plan.port < 1 || plan.pid < 1)
        die("port and pid are needed");
    if (plan.documents < 1 || plan.clients < 2 || plan.clients > MAX_CLIENTS)
        die("at least one document, 2 to %d clients of each", MAX_CLIENTS);
    if (plan.chars <= plan.clients || plan.chars > MAX_CHARS)
        die("more characters than clients, at most %d", MAX_CHARS);
}

int main(int count, char **arguments) {
    if (count < 2)
        die("which protocol?");
    protocol = protocol_called(arguments[1]);
    read_plan(count, arguments);
    total = plan.documents * plan.clients;
    connect_all();
    state = TYPING;
    for (int i = 0; i < total; i++)
        type(&clients[i]);
    run_until(now() + plan.warm);
    measure();
    return 0;
}
