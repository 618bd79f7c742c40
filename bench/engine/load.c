/* The load generator: WebSocket clients that speak Engine.IO 4 and Socket.IO 5, one thread, epoll.
 *
 *     load MODE key=value ...
 *
 * broadcast  one client publishes, `clients` others check that they get every message, in order
 * ack        `clients` clients, each with one event in flight that the server answers
 * idle       `clients` clients connect, `in_flight` handshakes at a time, and stay `hold` seconds,
 *            after the `first` of them have come and gone
 * stay       the same, and then each has an event answered
 * leave      `clients` clients with two rooms each disconnect at once, seen through another one
 *
 * It prints one JSON object. What is measured is the server's CPU clock (`pid`) between two
 * moments at which nothing is in flight. A wrong, lost or late message ends it with an error.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (256 * 1024)
#define EVENTS 512
#define PER_ADDRESS 4000  /* clients per loopback address: each has 28,000 ephemeral ports */
#define STALL_S 30        /* nothing for so long: something was lost */
#define RING 64           /* messages in flight at most */
#define MESSAGE_BYTES 4096
#define ROOMS_OF 10       /* clients that share a small room, in `leave` */
#define PAUSE_NS 50000    /* between two looks at the sockets, see `turn` */
#define POLL_NS 2000000   /* how often the client that watches the others leave asks */

/* RFC 6455 §1.3 has this key and what the server must make of it. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

typedef struct Client {
    int fd;
    int number;
    enum { CLOSED, UPGRADING, OPENING, ENTERING, JOINING, READY } state;
    uint32_t seen;    /* messages received, or answers */
    uint32_t pings;
    uint32_t kept;    /* bytes of an incomplete frame */
    uint32_t room;    /* size of `partial` */
    unsigned char *partial;
    uint64_t asked_ns;
    char *expected;   /* what the answer must be */
} Client;

typedef struct {
    char text[MESSAGE_BYTES]; /* the packet as every client must get it */
    size_t length;
    uint32_t missing;         /* clients that have not got it */
    uint64_t sent_ns;
} Message;

/* What a run is told. */
static struct {
    const char *mode, *watch;
    int port, pid, clients, window, bytes, in_flight, rooms, deflate, hold, first;
    double warm, seconds;
} plan = {.window = 4, .bytes = 200, .in_flight = 64, .first = 50, .warm = 1, .seconds = 3};

static int poller;
static Client *clients;
static int ready, connecting, lost;
static bool may_lose;
static unsigned char buffer[READ_BYTES];
static Message ring[RING];
static uint32_t published, completed;
static uint64_t publish_until;
static double *latencies;
static size_t latency_count, latency_room;
static FILE *watch_file;
static uint64_t wire_bytes;
static uint64_t last_progress;
static uint64_t answers;
static void (*on_answer)(Client *);
static uint32_t value; /* the number in the last answer to the watching client */

static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

/* ---- clocks ---- */

static uint64_t clock_ns(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time)) die("the server's process is gone");
    return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

static uint64_t now(void) { return clock_ns(CLOCK_MONOTONIC); }

static uint64_t server_cpu(void) {
    clockid_t clock;
    if (clock_getcpuclockid(plan.pid, &clock)) die("there is no process %d", plan.pid);
    return clock_ns(clock);
}

/* How long a process could have run while another one had its CPU. */
static uint64_t waited_ns(int pid) {
    char path[64];
    unsigned long long ran = 0, waited = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    if (fscanf(file, "%llu %llu", &ran, &waited) != 2) waited = 0;
    fclose(file);
    return waited;
}

static double server_rss_kb(void) {
    char path[64], line[256];
    double kilobytes = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", plan.pid);
    FILE *file = fopen(path, "r");
    if (!file) die("cannot read %s", path);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "Rss: %lf", &kilobytes) == 1) break;
    fclose(file);
    return kilobytes;
}

typedef struct { uint64_t wall, server, waited, own, own_waited; } Clocks;

static Clocks clocks(void) {
    return (Clocks){now(), server_cpu(), waited_ns(plan.pid), clock_ns(CLOCK_PROCESS_CPUTIME_ID),
                    waited_ns(getpid())};
}

static Clocks since(Clocks start) {
    Clocks end = clocks();
    return (Clocks){end.wall - start.wall, end.server - start.server, end.waited - start.waited,
                    end.own - start.own, end.own_waited - start.own_waited};
}

static void print_shares(Clocks spent) {
    printf("\"seconds\": %.6f, \"server_share\": %.4f, \"waited_share\": %.4f, "
           "\"generator_share\": %.4f, \"generator_waited_share\": %.4f",
           spent.wall / 1e9, (double)spent.server / spent.wall,
           (double)spent.waited / spent.wall, (double)spent.own / spent.wall,
           (double)spent.own_waited / spent.wall);
}

/* ---- text: bodies that vary and compress as prose does ---- */

static uint64_t random_state = 88172645463325252ull;

static uint32_t random_below(uint32_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 11) % limit);
}

static const char *const words[] = {
    "the", "voice", "of", "a", "fugue", "enters", "before", "last", "one", "has", "ended", "and",
    "document", "that", "many", "people", "edit", "at", "once", "keeps", "every", "letter", "in",
    "order", "while", "cursor", "moves", "through", "paragraphs", "version", "after", "is",
    "journal", "remembers", "what", "was", "written", "meeting", "notes", "for", "tomorrow",
    "should", "mention", "budget", "numbers", "questions", "answers", "quickly", "server", "sends",
    "message", "to", "all", "who", "are", "present", "nobody", "waits", "long", "river", "garden",
    "measure", "harmony", "careful"};

/* Write the JSON object {"n":number,"text":"..."}, exactly `bytes` long; return its length. */
static size_t write_body(char *out, uint32_t number, size_t bytes) {
    size_t length = (size_t)sprintf(out, "{\"n\":%u,\"text\":\"", number);
    size_t end = bytes - 2;
    while (length < end) {
        const char *word = words[random_below(sizeof words / sizeof *words)];
        while (*word && length < end) out[length++] = *word++;
        if (length < end) out[length++] = ' ';
    }
    memcpy(out + length, "\"}", 3);
    return length + 2;
}

/* ---- frames from client to server ---- */

static void send_bytes(Client *client, const void *bytes, size_t length) {
    ssize_t sent = send(client->fd, bytes, length, MSG_NOSIGNAL);
    if (sent == (ssize_t)length) return;
    if (may_lose) return; /* its end will be read */
    die("client %d cannot send: %s", client->number, sent < 0 ? strerror(errno) : "it is stuck");
}

static size_t write_frame(unsigned char *out, int opcode, const char *text, size_t length) {
    size_t at = 0;
    uint32_t mask = random_below(UINT32_MAX);
    unsigned char key[4];
    memcpy(key, &mask, 4);
    out[at++] = (unsigned char)(0x80 | opcode);
    if (length < 126) {
        out[at++] = (unsigned char)(0x80 | length);
    } else {
        out[at++] = 0x80 | 126;
        out[at++] = (unsigned char)(length >> 8);
        out[at++] = (unsigned char)length;
    }
    memcpy(out + at, key, 4);
    at += 4;
    for (size_t i = 0; i < length; i++) out[at + i] = (unsigned char)text[i] ^ key[i & 3];
    return at + length;
}

static void send_text(Client *client, const char *text, size_t length) {
    unsigned char frame[MESSAGE_BYTES + 64];
    send_bytes(client, frame, write_frame(frame, 1, text, length));
}

/* ---- connecting ---- */

static int next_number; /* of the next client that connects */
static int connect_end; /* the first that does not */

static void start_client(int number) {
    Client *client = &clients[number];
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    int on = 1;
    client->number = number;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0) die("cannot open a socket: %s", strerror(errno));
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(number / PER_ADDRESS));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons((uint16_t)plan.port);
    setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(client->fd, (struct sockaddr *)&from, sizeof from) ||
        connect(client->fd, (struct sockaddr *)&to, sizeof to))
        die("client %d cannot connect: %s", number, strerror(errno));
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
    /* Edges: one read takes all there is, and epoll need not look at the socket again. */
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = client};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event)) die("epoll: %s", strerror(errno));
    char request[1024];
    int length = snprintf(
        request, sizeof request,
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
        "Connection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
        "Upgrade: websocket\r\nOrigin: http://127.0.0.1:%d\r\nSec-WebSocket-Version: 13\r\n"
        "Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\n"
        "Sec-WebSocket-Key: " KEY "\r\n%s\r\n",
        plan.port, plan.port,
        plan.deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
                     : "");
    client->state = UPGRADING;
    send_bytes(client, request, (size_t)length);
    connecting++;
}

static void start_clients(void) {
    while (connecting < plan.in_flight && next_number < connect_end) start_client(next_number++);
}

static void become_ready(Client *client) {
    client->state = READY;
    connecting--;
    ready++;
    start_clients();
}

static void enter(Client *client) {
    client->state = ENTERING;
    send_text(client, "40", 2);
}

static void become_connected(Client *client) {
    char text[128];
    int length;
    if (!plan.rooms || client->number == 0) { /* client 0 publishes, or watches */
        become_ready(client);
        return;
    }
    if (plan.rooms == 1)
        length = sprintf(text, "420[\"join\",[\"all\"]]");
    else
        length = sprintf(text, "420[\"join\",[\"all\",\"group-%d\"]]", client->number / ROOMS_OF);
    client->state = JOINING;
    send_text(client, text, (size_t)length);
}

static void close_client(Client *client, bool abruptly) {
    struct linger none = {.l_onoff = 1};
    if (client->state == CLOSED) return;
    if (client->state == READY) ready--;
    if (abruptly) setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(client->fd);
    free(client->partial);
    free(client->expected);
    *client = (Client){0};
}

/* ---- what comes from the server ---- */

static void complete(Message *message) {
    uint64_t time = now();
    completed++;
    last_progress = time;
    if (latency_count == latency_room) {
        latency_room = latency_room ? 2 * latency_room : 4096;
        latencies = realloc(latencies, latency_room * sizeof *latencies);
    }
    latencies[latency_count++] = (double)(time - message->sent_ns);
}

static void take_message(Client *client, const char *text, size_t length, bool compressed) {
    Message *message = &ring[client->seen % RING];
    if (client->seen >= published || client->number == 0)
        die("client %d got an event that nobody published", client->number);
    wire_bytes += length;
    if (compressed) {
        if (length >= message->length) die("the compressed frame is not smaller");
    } else if (plan.deflate) {
        die("client %d got an uncompressed event", client->number);
    } else if (length != message->length || memcmp(text, message->text, length)) {
        die("client %d expected message %u and got %.*s", client->number, client->seen, (int)length,
            text);
    }
    client->seen++;
    if (--message->missing == 0) complete(message);
}

static void take_answer(Client *client, const char *text, size_t length) {
    if (client->state == JOINING) {
        become_ready(client);
        return;
    }
    size_t wanted = client->expected ? strlen(client->expected) : 0;
    if (wanted && (length != wanted || memcmp(text, client->expected, length)))
        die("client %d expected the answer %s and got %.*s", client->number, client->expected,
            (int)length, text);
    if (!wanted) {
        const char *bracket = memchr(text, '[', length);
        if (!bracket) die("client %d got the answer %.*s", client->number, (int)length, text);
        value = (uint32_t)strtoul(bracket + 1, NULL, 10);
    }
    client->seen++;
    answers++;
    last_progress = now();
    if (on_answer) on_answer(client);
}

static void take_packet(Client *client, const char *text, size_t length) {
    if (length == 1 && text[0] == '2') {
        client->pings++;
        send_text(client, "3", 1);
    } else if (length >= 2 && text[0] == '4' && text[1] == '2') {
        take_message(client, text, length, false);
    } else if (length >= 2 && text[0] == '4' && text[1] == '3') {
        take_answer(client, text, length);
    } else if (length >= 2 && text[0] == '4' && text[1] == '0' && client->state == ENTERING) {
        become_connected(client);
    } else if (length && text[0] == '0' && client->state == OPENING) {
        enter(client);
    } else {
        die("client %d got the packet %.*s", client->number, (int)length, text);
    }
}

/* Keep what two clients got: who started this can inflate it, and knows what it must be. */
static void watch(Client *client, bool compressed, const char *text, size_t length) {
    uint32_t head[3] = {(uint32_t)client->number, compressed, (uint32_t)length};
    if (client->number != 1 && client->number != plan.clients) return;
    fwrite(head, sizeof head, 1, watch_file);
    fwrite(text, 1, length, watch_file);
}

static void lose_client(Client *client) {
    if (!may_lose) die("the server closed client %d", client->number);
    if (client->state != READY) connecting--;
    close_client(client, false);
    lost++;
}

/* Take one frame; return its bytes, 0 when it is not complete. */
static size_t take_frame(Client *client, const unsigned char *data, size_t length) {
    size_t head = 2, size;
    if (length < 2) return 0;
    size = data[1];
    if (size == 126) {
        head = 4;
        if (length < head) return 0;
        size = (size_t)data[2] << 8 | data[3];
    } else if (size > 126) {
        die("client %d got a frame that is masked or huge", client->number);
    }
    if (length < head + size) return 0;
    const char *text = (const char *)data + head;
    if (watch_file) watch(client, data[0] & 0x40, text, size);
    if (data[0] == 0x81)
        take_packet(client, text, size);
    else if (data[0] == 0xc1 && plan.deflate)
        take_message(client, text, size, true);
    else if (data[0] == 0x88)
        lose_client(client);
    else
        die("client %d got a frame that begins with %02x", client->number, data[0]);
    return head + size;
}

/* Take the answer to the handshake; return its bytes, 0 when it is not complete. */
static size_t take_response(Client *client, const char *data, size_t length) {
    const char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t size = (size_t)(end - data) + 4;
    if (memcmp(data, "HTTP/1.1 101", 12) || !memmem(data, size, ACCEPT, strlen(ACCEPT)))
        die("client %d was answered %.*s", client->number, (int)size, data);
    if (plan.deflate && !memmem(data, size, "permessage-deflate", 18))
        die("the server does not compress");
    client->state = OPENING;
    return size;
}

static void keep(Client *client, const unsigned char *data, size_t length) {
    if (length > client->room) {
        client->room = (uint32_t)(length < 2048 ? 2048 : length);
        client->partial = realloc(client->partial, client->room);
        if (!client->partial) die("out of memory");
    }
    memcpy(client->partial, data, length);
    client->kept = (uint32_t)length;
}

/* Read once; return whether there may be more. */
static bool read_client(Client *client) {
    size_t kept = client->kept, at = 0, taken;
    memcpy(buffer, client->partial ? client->partial : buffer, kept);
    ssize_t got = recv(client->fd, buffer + kept, sizeof buffer - kept, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return errno == EINTR;
    if (got <= 0) {
        lose_client(client);
        return false;
    }
    size_t length = kept + (size_t)got;
    do {
        if (client->state == UPGRADING)
            taken = take_response(client, (char *)buffer + at, length - at);
        else
            taken = take_frame(client, buffer + at, length - at);
        at += taken;
    } while (taken && at < length && client->state != CLOSED);
    if (client->state == CLOSED) return false;
    client->kept = 0;
    if (at < length) keep(client, buffer + at, length - at);
    return length == sizeof buffer;
}

/* Handle what there is, waiting at most `milliseconds` for it.
 *
 * It looks now and then, as often as a network card interrupts under load, instead of waiting in
 * epoll: otherwise each write of the server would pay for waking this process, which on one
 * machine costs as much as the write itself and with clients elsewhere is nothing of the server's. */
static void turn(int milliseconds) {
    static struct epoll_event events[EVENTS];
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    uint64_t end = now() + (uint64_t)milliseconds * 1000000;
    int count;
    do {
        nanosleep(&pause, NULL);
        count = epoll_wait(poller, events, EVENTS, 0);
    } while (count == 0 && now() < end);
    for (int i = 0; i < count; i++) {
        Client *client = events[i].data.ptr;
        bool ended = events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
        while (client->state != CLOSED && (read_client(client) || ended)) continue;
    }
}

static void check_progress(const char *what, long have, long wanted) {
    if (now() - last_progress > STALL_S * 1000000000ull)
        die("nothing came for %d s: %s %ld of %ld", STALL_S, what, have, wanted);
}

static void connect_clients(int from, int to) {
    int wanted = ready + to - from, before = ready;
    next_number = from;
    connect_end = to;
    last_progress = now();
    start_clients();
    while (ready + lost < wanted) {
        turn(100);
        if (ready != before) last_progress = now();
        before = ready;
        check_progress("connected", ready, wanted);
    }
}

static void idle_for(double seconds) {
    uint64_t end = now() + (uint64_t)(seconds * 1e9);
    while (now() < end) turn(10);
}

/* ---- broadcast ---- */

static void publish(int count) {
    static unsigned char frames[RING * (MESSAGE_BYTES + 64)];
    char event[MESSAGE_BYTES + 64], body[MESSAGE_BYTES];
    size_t length = 0;
    for (int i = 0; i < count; i++) {
        Message *message = &ring[published % RING];
        write_body(body, published, (size_t)plan.bytes);
        message->length = (size_t)sprintf(message->text, "42[\"event\",%s]", body);
        message->missing = (uint32_t)plan.clients;
        message->sent_ns = now();
        int size = sprintf(event, "42[\"broadcast\",%s]", body);
        length += write_frame(frames + length, 1, event, (size_t)size);
        published++;
    }
    if (length) send_bytes(&clients[0], frames, length);
}

/* Keep `window` messages in flight for some time, and let the last ones arrive. */
static void publish_for(double seconds) {
    publish_until = now() + (uint64_t)(seconds * 1e9);
    last_progress = now();
    publish(plan.window);
    while (completed < published) {
        turn(100);
        if (now() < publish_until) publish(plan.window - (int)(published - completed));
        check_progress("complete messages", completed, published);
    }
}

static int by_value(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double percentile_us(double share) {
    size_t index = (size_t)(share * (double)latency_count);
    qsort(latencies, latency_count, sizeof *latencies, by_value);
    return latencies[index < latency_count ? index : latency_count - 1] / 1e3;
}

static void run_broadcast(void) {
    plan.rooms = 1;
    connect_clients(0, plan.clients + 1);
    publish_for(plan.warm);
    latency_count = 0;
    wire_bytes = 0;
    uint32_t before = completed;
    Clocks start = clocks();
    publish_for(plan.seconds);
    Clocks spent = since(start);
    for (int i = 1; i <= plan.clients; i++)
        if (clients[i].seen != published) die("client %d missed messages", i);
    double deliveries = (double)(completed - before) * plan.clients;
    printf("{\"deliveries\": %.0f, \"deliveries_per_s\": %.1f, \"cpu_us\": %.4f, "
           "\"complete_p50_us\": %.1f, \"complete_p99_us\": %.1f, \"frame_bytes\": %.1f, ",
           deliveries, deliveries / spent.wall * 1e9, spent.server / 1e3 / deliveries,
           percentile_us(0.5), percentile_us(0.99), wire_bytes / deliveries);
    print_shares(spent);
    printf("}\n");
}

/* ---- ack ---- */

static uint32_t next_ask;

static void ask(Client *client) {
    char text[MESSAGE_BYTES + 64], body[MESSAGE_BYTES];
    uint32_t id = client->seen;
    write_body(body, next_ask++, (size_t)plan.bytes);
    if (!client->expected) client->expected = malloc(MESSAGE_BYTES);
    sprintf(client->expected, "43%u[%s]", id, body);
    int length = sprintf(text, "42%u[\"echo\",%s]", id, body);
    client->asked_ns = now();
    send_text(client, text, (size_t)length);
}

static void ask_again(Client *client) {
    Message timing = {.sent_ns = client->asked_ns};
    complete(&timing);
    if (last_progress < publish_until)
        ask(client);
    else
        connecting--; /* here: clients that still ask */
}

static void ask_for(double seconds) {
    publish_until = now() + (uint64_t)(seconds * 1e9);
    last_progress = now();
    connecting = plan.clients;
    for (int i = 0; i < plan.clients; i++) ask(&clients[i]);
    while (connecting) {
        turn(100);
        check_progress("clients without an answer", connecting, 0);
    }
}

static void run_ack(void) {
    on_answer = ask_again;
    connect_clients(0, plan.clients);
    ask_for(plan.warm);
    latency_count = 0;
    uint64_t before = answers;
    Clocks start = clocks();
    ask_for(plan.seconds);
    Clocks spent = since(start);
    double acks = (double)(answers - before);
    printf("{\"acks\": %.0f, \"acks_per_s\": %.1f, \"cpu_us\": %.4f, \"ack_p50_us\": %.1f, "
           "\"ack_p99_us\": %.1f, ",
           acks, acks / spent.wall * 1e9, spent.server / 1e3 / acks, percentile_us(0.5),
           percentile_us(0.99));
    print_shares(spent);
    printf("}\n");
}

/* ---- idle and stay ---- */

static void close_clients(int from, int to, bool abruptly) {
    for (int i = from; i < to; i++) close_client(&clients[i], abruptly);
}

/* Let the server load its code and grow its tables before anything counts. */
static void warm_up(void) {
    if (plan.first > plan.clients) die("the first clients are some of all");
    connect_clients(0, plan.first);
    idle_for(0.2);
    close_clients(0, plan.first, true);
    idle_for(0.5);
}

static void run_idle(void) {
    warm_up();
    double before = server_rss_kb();
    Clocks start = clocks();
    connect_clients(0, plan.clients);
    Clocks spent = since(start);
    start = clocks();
    idle_for(plan.hold);
    Clocks idle = since(start);
    double accepts = plan.clients;
    printf("{\"accepts_per_s\": %.1f, \"cpu_us\": %.4f, \"rss_kb\": %.4f, \"idle_share\": %.5f, "
           "\"idle_generator_share\": %.4f, ",
           accepts / spent.wall * 1e9, spent.server / 1e3 / accepts,
           (server_rss_kb() - before) / accepts, (double)idle.server / idle.wall,
           (double)idle.own / idle.wall);
    print_shares(spent);
    printf("}\n");
}

static void run_stay(void) {
    may_lose = true;
    Clocks start = clocks();
    connect_clients(0, plan.clients);
    Clocks spent = since(start);
    idle_for(plan.hold);
    int asked = ready, stayed = 0;
    for (int i = 0; i < plan.clients; i++) {
        if (clients[i].state != READY) continue;
        ask(&clients[i]);
        if (i % plan.in_flight == 0) turn(1);
    }
    last_progress = now();
    while (answers + (uint64_t)lost < (uint64_t)asked) {
        turn(100);
        check_progress("answers", (long)answers, asked);
    }
    for (int i = 0; i < plan.clients; i++)
        if (clients[i].state == READY && clients[i].seen && clients[i].pings) stayed++;
    printf("{\"stayed\": %d, \"rss_mb\": %.1f, ", stayed, server_rss_kb() / 1024);
    print_shares(spent);
    printf("}\n");
}

/* ---- leave ---- */

/* Return the number that the server answers an event of client 0 with. */
static uint32_t query(const char *event) {
    char text[64];
    uint64_t before = answers;
    int length = sprintf(text, "42%u[\"%s\"]", clients[0].seen, event);
    send_text(&clients[0], text, (size_t)length);
    last_progress = now();
    while (answers == before) {
        turn(100);
        check_progress("answers", 0, 1);
    }
    return value;
}

static Clocks leave_at_once(int count) {
    connect_clients(1, count + 1);
    if (query("count") != (uint32_t)count + 1) die("the server miscounts its clients");
    if (query("members") != (uint32_t)count) die("the server miscounts the members of a room");
    idle_for(0.3);
    Clocks start = clocks();
    close_clients(1, count + 1, false);
    while (query("count") != 1) {
        uint64_t until = now() + POLL_NS;
        while (now() < until) turn(1);
        if (now() - start.wall > STALL_S * 1000000000ull)
            die("the server still has %u clients after %d s", value, STALL_S);
    }
    Clocks spent = since(start);
    if (query("members")) die("the room still has %u members", value);
    idle_for(0.3);
    return spent;
}

static void run_leave(void) {
    enum { FEW_RUNS = 5 };
    int few = plan.clients / 10;
    double few_cpu[FEW_RUNS], few_wall[FEW_RUNS];
    plan.rooms = 2;
    connect_clients(0, 1);
    leave_at_once(few);
    for (int i = 0; i < FEW_RUNS; i++) {
        Clocks spent = leave_at_once(few);
        few_cpu[i] = spent.server / 1e6;
        few_wall[i] = spent.wall / 1e6;
    }
    qsort(few_cpu, FEW_RUNS, sizeof *few_cpu, by_value);
    qsort(few_wall, FEW_RUNS, sizeof *few_wall, by_value);
    Clocks many = leave_at_once(plan.clients);
    double cpu = few_cpu[FEW_RUNS / 2], wall = few_wall[FEW_RUNS / 2];
    printf("{\"few_cpu_ms\": %.3f, \"many_cpu_ms\": %.3f, \"few_ms\": %.3f, \"many_ms\": %.3f, "
           "\"cpu_growth\": %.3f, \"growth\": %.3f, \"cpu_us\": %.4f, ",
           cpu, many.server / 1e6, wall, many.wall / 1e6, many.server / 1e6 / cpu,
           many.wall / 1e6 / wall, many.server / 1e3 / plan.clients);
    print_shares(many);
    printf("}\n");
}

/* ---- start ---- */

static void read_plan(int count, char **arguments) {
    struct { const char *name; int *number; double *real; const char **text; } keys[] = {
        {"port", &plan.port, 0, 0},           {"pid", &plan.pid, 0, 0},
        {"clients", &plan.clients, 0, 0},     {"window", &plan.window, 0, 0},
        {"bytes", &plan.bytes, 0, 0},         {"in_flight", &plan.in_flight, 0, 0},
        {"deflate", &plan.deflate, 0, 0},     {"hold", &plan.hold, 0, 0},
        {"first", &plan.first, 0, 0},         {"warm", 0, &plan.warm, 0},
        {"seconds", 0, &plan.seconds, 0},     {"watch", 0, 0, &plan.watch},
        {0}};
    if (count < 2) die("usage: load MODE key=value ...");
    plan.mode = arguments[1];
    for (int i = 2; i < count; i++) {
        char *equals = strchr(arguments[i], '=');
        int k = 0;
        if (!equals) die("%s is not key=value", arguments[i]);
        *equals = 0;
        while (keys[k].name && strcmp(keys[k].name, arguments[i])) k++;
        if (!keys[k].name) die("there is no %s", arguments[i]);
        if (keys[k].number) *keys[k].number = atoi(equals + 1);
        if (keys[k].real) *keys[k].real = atof(equals + 1);
        if (keys[k].text) *keys[k].text = equals + 1;
    }
    if (plan.port < 1 || plan.pid < 1 || plan.clients < 1) die("port, pid and clients are needed");
    if (plan.window > RING || plan.bytes < 40 || plan.bytes > MESSAGE_BYTES - 64)
        die("window or bytes are out of range");
}

int main(int count, char **arguments) {
    static const struct { const char *name; void (*run)(void); } modes[] = {
        {"broadcast", run_broadcast}, {"ack", run_ack},     {"idle", run_idle},
        {"stay", run_stay},           {"leave", run_leave}, {0}};
    int mode = 0;
    read_plan(count, arguments);
    while (modes[mode].name && strcmp(modes[mode].name, plan.mode)) mode++;
    if (!modes[mode].name) die("there is no mode %s", plan.mode);
    prctl(PR_SET_TIMERSLACK, 1ul); /* or pauses are twice as long */
    poller = epoll_create1(EPOLL_CLOEXEC);
    clients = calloc((size_t)plan.clients + 1, sizeof *clients);
    if (poller < 0 || !clients) die("cannot start: %s", strerror(errno));
    if (plan.watch && !(watch_file = fopen(plan.watch, "wb"))) die("cannot write %s", plan.watch);
    modes[mode].run();
    if (watch_file) fclose(watch_file);
    close_clients(0, plan.clients + 1, true);
    return 0;
}
