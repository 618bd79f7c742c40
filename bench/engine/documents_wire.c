/* The wire protocols of the three servers, as far as somebody who only types needs them.
 *
 * Everybody types at a caret of their own, far from the others', so the text that must come
 * out is known: the initial one with a run of one letter at each caret. Clients keep no text;
 * with operational transformation they carry their caret over what others insert. */

#define _GNU_SOURCE
#include "documents_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_SIZE = 32 * 1024 };

static char scratch[MESSAGE_SIZE];

static void send_text(Client *client, const char *text) {
    websocket_send(&client->socket, TEXT, text, strlen(text));
}

static bool starts(Message message, const char *head) {
    size_t size = strlen(head);
    return message.size >= size && !memcmp(message.data, head, size);
}

static Message expect(Client *client, const char *head) {
    Message message;
    do
        message = websocket_wait(&client->socket);
    while (!starts(message, head)); /* presence, and what others did meanwhile */
    return message;
}

/* Return what follows the next ``key`` from ``at`` on, NULL if there is none. */
static char *after(const char *key, char *at, const char *end) {
    size_t size = strlen(key);
    char *found = at ? memmem(at, (size_t)(end - at), key, size) : NULL;
    return found ? found + size : NULL;
}

static long number_after(const char *key, Message message) {
    char *at = after(key, message.data, message.data + message.size);
    if (!at)
        die("no %s in %.*s", key, (int)message.size, message.data);
    return strtol(at, NULL, 10);
}

/* An inserted character moves the caret when it stands before it. */
static void carry_caret(Client *client, long place) {
    if (place < client->caret)
        client->caret++;
}

/* The place of ``[5,"x"]`` or ``["x"]``. */
static long place_of(const char *op) { return *op == '"' ? 0 : strtol(op, NULL, 10); }

/* Stretto: Socket.IO events on /docs. A frame has all entries of a batch, own ones included. */

static const char STRETTO_CLIENT[] = "bench-client-"; /* and the index, in six digits */

static void stretto_submit(Client *client, long seq, const char *op) {
    snprintf(scratch, sizeof scratch,
             "42/docs,%ld[\"submit\",{\"doc\":\"bench-%d\",\"epoch\":\"%s\","
             "\"client\":\"%s%06d\",\"seq\":%ld,\"base\":%ld,\"op\":%s}]",
             seq, client->document, client->epoch, STRETTO_CLIENT, client->index, seq,
             client->version, op);
}

static void stretto_join(Client *client, const char *token, const char *text) {
    expect(client, "0{");
    snprintf(scratch, sizeof scratch, "40/docs,{\"token\":\"%s\"}", token);
    send_text(client, scratch);
    expect(client, "40/docs,");
    snprintf(scratch, sizeof scratch,
             "42/docs,0[\"open\",{\"doc\":\"bench-%d\",\"client\":\"%s%06d\"}]",
             client->document, STRETTO_CLIENT, client->index);
    send_text(client, scratch);
    Message answer = expect(client, "43/docs,0[{\"ok\":true");
    client->version = number_after("\"version\":", answer);
    char *epoch = after("\"epoch\":\"", answer.data, answer.data + answer.size);
    char *stop = epoch ? memchr(epoch, '"', EPOCH_SIZE - 1) : NULL;
    if (!stop)
        die("no epoch in %.*s", (int)answer.size, answer.data);
    memcpy(client->epoch, epoch, (size_t)(stop - epoch));
    if (client->number)
        return;
    static char op[MESSAGE_SIZE / 2];
    snprintf(op, sizeof op, "[\"%s\"]", text);
    stretto_submit(client, client->seq_before = 1, op);
    send_text(client, scratch);
    for (bool accepted = false; !accepted || !client->version;) {
        Message message = websocket_wait(&client->socket);
        accepted |= starts(message, "43/docs,1[{\"ok\":true");
        client->version |= starts(message, "42/docs,[\"ops\"");
    }
}

static int stretto_write(Client *client, char *message) {
    char op[64];
    snprintf(op, sizeof op, "[%ld,\"%c\"]", client->caret, client->letter);
    stretto_submit(client, client->seq_before + client->typed, op);
    strcpy(message, scratch);
    return (int)strlen(message);
}

static void stretto_entry(Client *client, const Client *group, int index, long seq, long place) {
    const Client *author = &group[index - group->index];
    if (author == client) {
        client->caret = place + 1;
        client->awaits_entry = false;
    } else {
        carry_caret(client, place);
    }
    saw(client, author->number, seq - author->seq_before);
}

static void stretto_frame(Client *client, Message message) {
    char *at = message.data;
    const char *end = at + message.size;
    const Client *group = client - client->number;
    long first = number_after("\"from\":", message);
    if (first > client->version + 1)
        die("a gap: %ld after %ld", first, client->version);
    long version = first - 1;
    while ((at = after("\"client\":\"", at, end))) {
        int index = atoi(at + sizeof STRETTO_CLIENT - 1);
        char *seq = after("\"seq\":", at, end), *op = after("\"op\":[", seq, end);
        if (!op)
            die("not an entry: %.*s", (int)(end - at), at);
        if (++version <= client->version)
            continue;
        stretto_entry(client, group, index, strtol(seq, NULL, 10), place_of(op));
    }
    client->version = version > client->version ? version : client->version;
}

static void stretto_take(Client *client, Message message) {
    if (starts(message, "42/docs,[\"ops\""))
        stretto_frame(client, message);
    else if (starts(message, "43/docs,") && memmem(message.data, message.size, "\"ok\":true", 9))
        acknowledged(client);
    else if (starts(message, "2"))
        send_text(client, "3");
    else if (!starts(message, "42/docs,[\"presence\""))
        die("unexpected: %.*s", (int)message.size, message.data);
}

const Protocol STRETTO = {
    .name = "stretto",
    .opcode = TEXT,
    .path = "/socket.io/?EIO=4&transport=websocket",
    .sends_own_entry = true,
    .join = stretto_join,
    .write_insert = stretto_write,
    .take = stretto_take,
};

/* ShareDB: JSON objects. Own operations do not come back; others' come on the stream, and
 * those that an operation was transformed over once more before its acknowledgement. */

static const char TYPE[] = "http://sharejs.org/types/text-unicode";

static void sharedb_write_op(Client *client, long seq, const char *what) {
    snprintf(scratch, sizeof scratch,
             "{\"a\":\"op\",\"c\":\"texts\",\"d\":\"bench-%d\",\"v\":%ld,"
             "\"src\":\"%06d\",\"seq\":%ld,\"x\":{},%s}",
             client->document, client->version, client->index, seq, what);
}

static void sharedb_join(Client *client, const char *token, const char *text) {
    (void)token;
    expect(client, "{\"a\":\"init\"");
    snprintf(scratch, sizeof scratch,
             "{\"a\":\"hs\",\"id\":\"%06d\",\"protocol\":1,\"protocolMinor\":2}", client->index);
    send_text(client, scratch);
    expect(client, "{\"a\":\"hs\"");
    if (client->number == 0) {
        static char create[MESSAGE_SIZE / 2];
        snprintf(create, sizeof create, "\"create\":{\"type\":\"%s\",\"data\":\"%s\"}", TYPE, text);
        sharedb_write_op(client, client->seq_before = 1, create);
        send_text(client, scratch);
        Message answer = websocket_wait(&client->socket);
        if (memmem(answer.data, answer.size, "\"error\"", 7))
            die("not created: %.*s", (int)answer.size, answer.data);
    }
    snprintf(scratch, sizeof scratch, "{\"a\":\"s\",\"c\":\"texts\",\"d\":\"bench-%d\"}",
             client->document);
    send_text(client, scratch);
    client->version = number_after("\"v\":", expect(client, "{\"data\":"));
}

static int sharedb_write(Client *client, char *message) {
    char op[64];
    snprintf(op, sizeof op, "\"op\":[%ld,\"%c\"]", client->caret, client->letter);
    sharedb_write_op(client, client->seq_before + client->typed, op);
    strcpy(message, scratch);
    return (int)strlen(message);
}

static void sharedb_take(Client *client, Message message) {
    char *end = message.data + message.size;
    char *src = after("\"src\":\"", message.data, end);
    if (!src || memmem(message.data, message.size, "\"error\"", 7))
        die("unexpected: %.*s", (int)message.size, message.data);
    const Client *group = client - client->number;
    const Client *author = &group[atoi(src) - group->index];
    long version = number_after("\"v\":", message);
    char *op = after("\"op\":[", message.data, end);
    if (version < client->version) {
        saw_again();
        return;
    }
    if (version > client->version)
        die("a gap: %ld after %ld", version, client->version);
    client->version++;
    if (author == client) {
        client->caret++;
        acknowledged(client);
    } else if (op) {
        carry_caret(client, place_of(op));
        saw(client, author->number, number_after("\"seq\":", message) - author->seq_before);
    } else {
        die("unexpected: %.*s", (int)message.size, message.data);
    }
}

const Protocol SHAREDB = {
    .name = "sharedb",
    .opcode = TEXT,
    .path = "/",
    .join = sharedb_join,
    .write_insert = sharedb_write,
    .take = sharedb_take,
};

/* Hocuspocus: Yjs updates. Each one inserts an item between the author's last one (at first a
 * character of the initial text) and the next character of that text, as Yjs itself does. */

enum { SYNC = 0, AUTH = 2, SYNC_STATUS = 8 };          /* Hocuspocus' kinds of messages */
enum { STEP_1 = 0, UPDATE = 2 };                       /* y-protocols' kinds of SYNC */
enum { STRING = 4, HAS_ORIGIN = 0x80, HAS_RIGHT = 0x40 }; /* of a Yjs item */
static const uint32_t WRITER = 0xb0000000, FIRST_CLIENT = 0xc0000000; /* Yjs takes random ones */

static char *put_number(char *at, uint64_t number) {
    for (; number > 0x7f; number >>= 7)
        *at++ = (char)(number | 0x80);
    *at++ = (char)number;
    return at;
}

static char *put_bytes(char *at, const char *bytes, size_t size) {
    at = put_number(at, size);
    memcpy(at, bytes, size);
    return at + size;
}

static char *put_id(char *at, uint32_t client, long clock) {
    return put_number(put_number(at, client), (uint64_t)clock);
}

static char *put_document(char *at, const Client *client) {
    char name[32];
    return put_bytes(at, name, (size_t)sprintf(name, "bench-%d", client->document));
}

static uint64_t take_number(char **at, const char *end) {
    uint64_t number = 0;
    for (int shift = 0; *at < end && shift < 63; shift += 7) {
        unsigned char byte = (unsigned char)*(*at)++;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return number;
    }
    die("not a number");
}

static void hocuspocus_send(Client *client, const char *end) {
    websocket_send(&client->socket, BINARY, scratch, (size_t)(end - scratch));
}

/* Put an update of one item with ``content``; ``origins`` are what it stands between. */
static char *put_update(char *at, uint32_t author, long clock, int origins, const char *between,
                        size_t between_size, const char *content, size_t size) {
    static char update[MESSAGE_SIZE];
    char *end = put_number(put_number(update, 1), 1); /* one client, one item */
    end = put_id(end, author, clock);
    *end++ = (char)(STRING | origins);
    memcpy(end, between, between_size);
    end = put_bytes(end + between_size, content, size);
    *end++ = 0; /* nothing deleted */
    at = put_number(put_number(at, SYNC), UPDATE);
    return put_bytes(at, update, (size_t)(end - update));
}

static void hocuspocus_await(Client *client, int kind) {
    for (;;) {
        Message message = websocket_wait(&client->socket);
        char *at = message.data, *end = at + message.size;
        uint64_t name = take_number(&at, end);
        at += name;
        if ((int)take_number(&at, end) == kind)
            return;
    }
}

static void hocuspocus_join(Client *client, const char *token, const char *text) {
    char *at = put_number(put_number(put_document(scratch, client), AUTH), 0);
    hocuspocus_send(client, put_bytes(at, token, strlen(token)));
    hocuspocus_await(client, AUTH);
    at = put_number(put_number(put_document(scratch, client), SYNC), STEP_1);
    hocuspocus_send(client, put_bytes(at, "\0", 1)); /* the state vector of an empty document */
    hocuspocus_await(client, SYNC);
    if (client->number)
        return;
    char parent[16];
    size_t size = (size_t)(put_bytes(put_number(parent, 1), "text", 4) - parent);
    at = put_document(scratch, client);
    hocuspocus_send(client, put_update(at, WRITER, 0, 0, parent, size, text, strlen(text)));
    hocuspocus_await(client, SYNC_STATUS);
}

static int hocuspocus_write(Client *client, char *message) {
    char between[32], *end;
    uint32_t self = FIRST_CLIENT + (uint32_t)client->index;
    long clock = client->typed - 1;
    end = clock ? put_id(between, self, clock - 1) : put_id(between, WRITER, client->caret - 1);
    end = put_id(end, WRITER, client->caret);
    end = put_update(put_document(message, client), self, clock, HAS_ORIGIN | HAS_RIGHT, between,
                     (size_t)(end - between), &client->letter, 1);
    return (int)(end - message);
}

static void hocuspocus_update(Client *client, char *at, const char *end) {
    take_number(&at, end); /* size */
    if (take_number(&at, end) != 1 || take_number(&at, end) != 1)
        die("an update of several items");
    uint32_t author = (uint32_t)take_number(&at, end);
    long clock = (long)take_number(&at, end);
    if (author != WRITER)
        saw(client, (int)(author - FIRST_CLIENT) - (client->index - client->number), clock + 1);
}

static void hocuspocus_take(Client *client, Message message) {
    char *at = message.data, *end = at + message.size;
    uint64_t name = take_number(&at, end);
    at += name;
    uint64_t kind = take_number(&at, end), step = take_number(&at, end);
    if (kind == SYNC && step == UPDATE)
        hocuspocus_update(client, at, end);
    else if (kind == SYNC_STATUS && step == 1)
        acknowledged(client);
    else if (kind != SYNC) /* the answer to joining may still be on its way */
        die("unexpected message of kind %d, step %d", (int)kind, (int)step);
}

const Protocol HOCUSPOCUS = {
    .name = "hocuspocus",
    .opcode = BINARY,
    .path = "/",
    .join = hocuspocus_join,
    .write_insert = hocuspocus_write,
    .take = hocuspocus_take,
};
