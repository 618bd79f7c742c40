/** Who is here. */
import type { Member, User } from "stretto-client";
import type { Activity } from "./activity";
import { inkOn, safeColor } from "./colors";
import { make } from "./elements";
import { initials } from "./names";

const SHOWN = 4;

/** One person, in however many tabs. */
export interface Person {
  readonly user: User;
  readonly self: boolean;
  readonly idle: boolean;
}

/** Return the people among `members`, oneself first. Idle is who does nothing in any tab. */
export function peopleOf(
  members: readonly Member[],
  selfId: string,
  activity: Activity,
  now: number,
): readonly Person[] {
  const own = members.find(({ id }) => id === selfId)?.user.id;
  const byUser = new Map(members.map(({ user }) => [user.id, user]));
  const people = [...byUser.values()].map((user) => {
    const self = user.id === own;
    const tabs = members.filter((member) => member.user.id === user.id);
    return { user, self, idle: !self && tabs.every(({ id }) => activity.isIdle(id, now)) };
  });
  return people.sort((a, b) => Number(b.self) - Number(a.self));
}

/** Fill the summary (avatars) and the list (names) of the people panel. */
export function showPeople(people: readonly Person[], summary: Element, list: Element): void {
  const avatars = people.slice(0, SHOWN).map(avatar);
  const more = people.length - avatars.length;
  if (more > 0) avatars.push(make("span", "avatar more", `+${more}`));
  summary.replaceChildren(...avatars);
  const count = people.length === 1 ? "Only you are here" : `${people.length} people here`;
  summary.setAttribute("aria-label", `${count}: ${people.map(({ user }) => user.name).join(", ")}`);
  list.replaceChildren(...people.map(row));
}

function row(person: Person): HTMLElement {
  const item = make("li", "", avatar(person), make("span", "person-name", person.user.name));
  if (person.self) item.append(make("span", "you", "you"));
  if (person.idle) item.append(make("span", "idle", "idle"));
  return item;
}

function avatar({ user, idle }: Person): HTMLElement {
  const element = make("span", idle ? "avatar away" : "avatar", initials(user.name));
  const color = safeColor(user.color);
  element.style.setProperty("--who", color);
  element.style.setProperty("--ink", inkOn(color));
  element.title = idle ? `${user.name} (idle)` : user.name;
  return element;
}
