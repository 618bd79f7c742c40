/** Who is here. */
import type { Member, User } from "stretto-client";
import { inkOn, safeColor } from "./colors";
import { initials } from "./names";

const SHOWN = 4;

/** One person, in however many tabs. */
export interface Person {
  readonly user: User;
  readonly self: boolean;
}

/** Return the people among `members`, oneself first. */
export function peopleOf(members: readonly Member[], selfId: string): readonly Person[] {
  const own = members.find(({ id }) => id === selfId)?.user.id;
  const byUser = new Map(members.map(({ user }) => [user.id, user]));
  const people = [...byUser.values()].map((user) => ({ user, self: user.id === own }));
  return people.sort((a, b) => Number(b.self) - Number(a.self));
}

/** Fill the summary (avatars) and the list (names) of the people panel. */
export function showPeople(people: readonly Person[], summary: Element, list: Element): void {
  const avatars = people.slice(0, SHOWN).map(avatar);
  const more = people.length - avatars.length;
  if (more > 0) avatars.push(text("span", "avatar more", `+${more}`));
  summary.replaceChildren(...avatars);
  const count = people.length === 1 ? "Only you are here" : `${people.length} people here`;
  summary.setAttribute("aria-label", `${count}: ${people.map(({ user }) => user.name).join(", ")}`);
  list.replaceChildren(...people.map(row));
}

function row(person: Person): HTMLElement {
  const item = document.createElement("li");
  item.append(avatar(person), text("span", "person-name", person.user.name));
  if (person.self) item.append(text("span", "you", "you"));
  return item;
}

function avatar({ user }: Person): HTMLElement {
  const element = text("span", "avatar", initials(user.name));
  const color = safeColor(user.color);
  element.style.setProperty("--who", color);
  element.style.setProperty("--ink", inkOn(color));
  element.title = user.name;
  return element;
}

function text(tag: string, className: string, content: string): HTMLElement {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = content;
  return element;
}
