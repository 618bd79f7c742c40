/* Stretto's wire protocol, as far as somebody who only types needs it.
 *
 * Everybody types a letter of their own at a caret of their own, so the text that must come out
 * is known. Clients keep no text; they carry their caret over what others do. A frame is taken
 * apart once; that the others get the same bytes is all that has to be looked at. */

#define _GNU_SOURCE
#include "cluster_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_SIZE = 64 * 1024 };

static const char CLIENT[] = "bench-client-"; /* and the index, in six digits */
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
    do {
        message = websocket_wait(&client->socket);
        if (starts(message, "44/") || memmem(message.data, message.size, "\"ok\":false", 10))
            die("refused: %.*s", (int)message.size, message.data);
    } while (!starts(message, head)); /* presence, and what others did meanwhile */
    return message;
}

/* Return what follows the next ``key`` from ``at`` on. */
static char *after(const char *key, char *at, const char *end) {
    size_t size = strlen(key);
    char *found = memmem(at, (size_t)(end - at), key, size);
    if (!found)
        die("no %s in %.*s", key, (int)(end - at), at);
    return found + size;
}

static long number_after(const char *key, Message message) {
    return strtol(after(key, message.data, message.data + message.size), NULL, 10);
}

static void copy_text(const char *key, Message message, char *to, size_t size) {
    char *end = message.data + message.size, *text = after(key, message.data, end);
    char *stop = memchr(text, '"', (size_t)(end - text));
    if (!stop || (size_t)(stop - text) >= size)
        die("no end of %s in %.*s", key, (int)message.size, message.data);
    memcpy(to, text, (size_t)(stop - text));
    to[stop - text] = 0;
}

static void submit(Client *client, long seq, const char *op) {
    int size = snprintf(scratch, sizeof scratch,
                        "42/docs,%ld[\"submit\",{\"doc\":\"bench-%d\",\"epoch\":\"%s\","
                        "\"client\":\"%s%06d\",\"seq\":%ld,\"base\":%ld,\"op\":%s}]",
                        seq, client->document->number, client->document->epoch, CLIENT,
                        client->index, seq, client->version, op);
    websocket_send(&client->socket, TEXT, scratch, (size_t)size);
}

static void write_text(Client *client, const char *text) {
    static char op[MESSAGE_SIZE / 2];
    snprintf(op, sizeof op, "[\"%s\"]", text);
    submit(client, client->seq_before = 1, op);
    for (bool accepted = false, came = false; !accepted || !came;) {
        Message message = websocket_wait(&client->socket);
        accepted |= starts(message, "43/docs,1[{\"ok\":true");
        if (starts(message, "42/docs,[\"ops\"")) {
            came = true;
            client->version = number_after("\"from\":", message);
        }
    }
    client->document->version = client->version;
}

void wire_join(Client *client, const char *token, const char *text) {
    Document *document = client->document;
    expect(client, "0{");
    snprintf(scratch, sizeof scratch, "40/docs,{\"token\":\"%s\"}", token);
    send_text(client, scratch);
    expect(client, "40/docs,");
    snprintf(scratch, sizeof scratch,
             "42/docs,0[\"open\",{\"doc\":\"bench-%d\",\"client\":\"%s%06d\"}]", document->number,
             CLIENT, client->index);
    send_text(client, scratch);
    Message answer = expect(client, "43/docs,0[{\"ok\":true");
    client->version = number_after("\"version\":", answer);
    copy_text("\"epoch\":\"", answer, document->epoch, sizeof document->epoch);
    if (client->number == 0)
        write_text(client, text);
}

void wire_type(Client *client) {
    char op[64];
    int letter = FIRST_LETTER + client->number;
    snprintf(op, sizeof op, "[%ld,\"%c%c%c\"]", client->caret, 0xe0 | letter >> 12,
             0x80 | (letter >> 6 & 0x3f), 0x80 | (letter & 0x3f));
    submit(client, client->seq_before + client->typed, op);
}

/* Taking frames apart. */

static void *grown(void *items, int count, int *capacity, size_t size) {
    if (count < *capacity)
        return items;
    *capacity = *capacity ? 2 * *capacity : 16;
    items = realloc(items, (size_t)*capacity * size);
    if (!items)
        die("no memory");
    return items;
}

/* Skip a JSON string whose quote was read; count its characters, escaped ones as one each. */
static const char *skip_string(const char *at, const char *end, long *characters) {
    for (; at < end && *at != '"'; at++) {
        *characters += ((unsigned char)*at & 0xc0) != 0x80;
        if (*at == '\\' && at[1] == 'u')
            die("an escaped character, which nobody types");
        at += *at == '\\';
    }
    return at + 1;
}

static void add_edit(Frame *frame, Entry *entry, Edit edit) {
    frame->edits =
        grown(frame->edits, frame->edit_count, &frame->edit_capacity, sizeof *frame->edits);
    frame->edits[frame->edit_count++] = edit;
    entry->edits++;
}

/* Read the components of an operation, from behind its bracket on. */
static char *read_op(Frame *frame, Entry *entry, char *at, const char *end) {
    long place = 0;
    entry->first_edit = frame->edit_count;
    while (at < end && *at != ']') {
        if (*at == ',') {
            at++;
        } else if (*at == '"') {
            long characters = 0;
            at = (char *)skip_string(at + 1, end, &characters);
            add_edit(frame, entry, (Edit){place, characters});
            place += characters;
        } else {
            long number = strtol(at, &at, 10);
            if (number > 0)
                place += number;
            else if (number < 0)
                add_edit(frame, entry, (Edit){place, number});
            else
                die("not an operation: %.*s", (int)(end - at), at);
        }
    }
    return at;
}

static char *read_entry(Document *document, Frame *frame, char *at, const char *end) {
    frame->entries =
        grown(frame->entries, frame->count, &frame->entry_capacity, sizeof *frame->entries);
    Entry *entry = &frame->entries[frame->count++];
    *entry = (Entry){0};
    if (end - at > (long)sizeof CLIENT && !memcmp(at, CLIENT, sizeof CLIENT - 1))
        entry->author = client_of(document, atoi(at + sizeof CLIENT - 1));
    entry->nth = strtol(after("\"seq\":", at, end), NULL, 10);
    if (entry->author)
        entry->nth -= entry->author->seq_before;
    return read_op(frame, entry, after("\"op\":[", at, end), end);
}

/* Check what nobody here was told of before: each author's characters, once and in order. */
static void check_news(Document *document, const Frame *frame, Message message) {
    char hash[HASH_SIZE];
    char *end = message.data + message.size, *last = memrchr(message.data, ']', message.size - 1);
    Message tail = {last, (size_t)(end - last)};
    copy_text("\"hash\":\"", tail, hash, sizeof hash);
    long reached = frame->first + frame->count - 1;
    if (reached == document->version && *document->hash && strcmp(hash, document->hash))
        die("two histories: version %ld has the hashes %s and %s", reached, hash, document->hash);
    if (reached <= document->version)
        return;
    for (long version = document->version + 1; version <= reached; version++) {
        const Entry *entry = &frame->entries[version - frame->first];
        if (entry->author && entry->nth != ++entry->author->committed)
            die("client %d: character %ld was committed instead of %ld", entry->author->index,
                entry->nth, entry->author->committed);
    }
    document->version = reached;
    strcpy(document->hash, hash);
}

static void read_frame(Document *document, Frame *frame, Message message) {
    if (frame->capacity < message.size) {
        frame->capacity = 2 * message.size;
        frame->bytes = realloc(frame->bytes, frame->capacity);
        if (!frame->bytes)
            die("no memory");
    }
    memcpy(frame->bytes, message.data, frame->size = message.size);
    frame->first = number_after("\"from\":", message);
    frame->count = frame->edit_count = 0;
    const char *end = message.data + message.size;
    for (char *at = message.data; (at = memmem(at, (size_t)(end - at), "\"client\":\"", 10));)
        at = read_entry(document, frame, at + 10, end);
    if (!frame->count)
        die("an empty frame: %.*s", (int)message.size, message.data);
}

static const Frame *frame_of(Document *document, Message message) {
    for (int back = 0; back < KEPT_FRAMES; back++) {
        Frame *kept = &document->kept[(document->newest + KEPT_FRAMES - back) % KEPT_FRAMES];
        if (kept->size == message.size && !memcmp(kept->bytes, message.data, message.size))
            return kept;
    }
    document->newest = (document->newest + 1) % KEPT_FRAMES;
    Frame *frame = &document->kept[document->newest];
    read_frame(document, frame, message);
    if (frame->first <= document->version + 1)
        check_news(document, frame, message);
    return frame;
}

static void carry_caret(Client *client, const Frame *frame, const Entry *entry) {
    const Edit *edit = &frame->edits[entry->first_edit];
    if (entry->author == client) {
        client->caret = edit->place + edit->change;
        return;
    }
    for (int i = 0; i < entry->edits; i++, edit++)
        if (edit->place < client->caret) {
            client->caret += edit->change;
            if (client->caret < edit->place)
                client->caret = edit->place;
        }
}

static void take_frame(Client *client, Message message) {
    const Frame *frame = frame_of(client->document, message);
    if (frame->first > client->version + 1)
        die("client %d of node %d: a gap, %ld after %ld", client->index, client->node,
            frame->first, client->version);
    for (int i = (int)(client->version + 1 - frame->first); i < frame->count; i++) {
        const Entry *entry = &frame->entries[i];
        carry_caret(client, frame, entry);
        client->version++;
        if (entry->author)
            saw(client, entry->author, entry->nth);
    }
}

void wire_take(Client *client, Message message) {
    if (starts(message, "42/docs,[\"ops\""))
        take_frame(client, message);
    else if (starts(message, "43/docs,") && memmem(message.data, message.size, "\"ok\":true", 9))
        acknowledged(client);
    else if (starts(message, "2"))
        send_text(client, "3");
    else if (!starts(message, "42/docs,[\"presence\""))
        die("client %d: unexpected: %.*s", client->index, (int)message.size, message.data);
}
