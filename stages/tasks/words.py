"""Word tables of the generated tasks, in English and, in the order of LANGUAGES, in five more languages."""


def phrases(text: str) -> tuple[str, ...]:
    """The phrases of a list with commas."""
    return tuple(" ".join(phrase.split()) for phrase in text.split(","))


LANGUAGES = ("German", "French", "Spanish", "Italian", "Portuguese")

_NUMBERS = """
one: eins un uno uno um
two: zwei deux dos due dois
three: drei trois tres tre três
four: vier quatre cuatro quattro quatro
five: fünf cinq cinco cinque cinco
six: sechs six seis sei seis
seven: sieben sept siete sette sete
eight: acht huit ocho otto oito
nine: neun neuf nueve nove nove
ten: zehn dix diez dieci dez
eleven: elf onze once undici onze
twelve: zwölf douze doce dodici doze
"""

_COLOURS = """
red: rot rouge rojo rosso vermelho
blue: blau bleu azul blu azul
green: grün vert verde verde verde
yellow: gelb jaune amarillo giallo amarelo
black: schwarz noir negro nero preto
white: weiß blanc blanco bianco branco
brown: braun marron marrón marrone marrom
grey: grau gris gris grigio cinza
"""

_MASS = """
water: Wasser eau agua acqua água
bread: Brot pain pan pane pão
milk: Milch lait leche latte leite
sun: Sonne soleil sol sole sol
moon: Mond lune luna luna lua
fire: Feuer feu fuego fuoco fogo
snow: Schnee neige nieve neve neve
sea: Meer mer mar mare mar
salt: Salz sel sal sale sal
gold: Gold or oro oro ouro
"""

_COUNTABLE = """
cat cats: Katze Katzen, chat chats, gato gatos, gatto gatti, gato gatos
dog dogs: Hund Hunde, chien chiens, perro perros, cane cani, cão cães
bird birds: Vogel Vögel, oiseau oiseaux, pájaro pájaros, uccello uccelli, pássaro pássaros
horse horses: Pferd Pferde, cheval chevaux, caballo caballos, cavallo cavalli, cavalo cavalos
cow cows: Kuh Kühe, vache vaches, vaca vacas, mucca mucche, vaca vacas
wolf wolves: Wolf Wölfe, loup loups, lobo lobos, lupo lupi, lobo lobos
duck ducks: Ente Enten, canard canards, pato patos, anatra anatre, pato patos
bear bears: Bär Bären, ours ours, oso osos, orso orsi, urso ursos
house houses: Haus Häuser, maison maisons, casa casas, casa case, casa casas
book books: Buch Bücher, livre livres, libro libros, libro libri, livro livros
tree trees: Baum Bäume, arbre arbres, árbol árboles, albero alberi, árvore árvores
table tables: Tisch Tische, table tables, mesa mesas, tavolo tavoli, mesa mesas
door doors: Tür Türen, porte portes, puerta puertas, porta porte, porta portas
window windows: Fenster Fenster, fenêtre fenêtres, ventana ventanas, finestra finestre, janela janelas
apple apples: Apfel Äpfel, pomme pommes, manzana manzanas, mela mele, maçã maçãs
flower flowers: Blume Blumen, fleur fleurs, flor flores, fiore fiori, flor flores
car cars: Auto Autos, voiture voitures, coche coches, macchina macchine, carro carros
hand hands: Hand Hände, main mains, mano manos, mano mani, mão mãos
friend friends: Freund Freunde, ami amis, amigo amigos, amico amici, amigo amigos
king kings: König Könige, roi rois, rey reyes, re re, rei reis
star stars: Stern Sterne, étoile étoiles, estrella estrellas, stella stelle, estrela estrelas
day days: Tag Tage, jour jours, día días, giorno giorni, dia dias
night nights: Nacht Nächte, nuit nuits, noche noches, notte notti, noite noites
city cities: Stadt Städte, ville villes, ciudad ciudades, città città, cidade cidades
river rivers: Fluss Flüsse, rivière rivières, río ríos, fiume fiumi, rio rios
chair chairs: Stuhl Stühle, chaise chaises, silla sillas, sedia sedie, cadeira cadeiras
brother brothers: Bruder Brüder, frère frères, hermano hermanos, fratello fratelli, irmão irmãos
sister sisters: Schwester Schwestern, sœur sœurs, hermana hermanas, sorella sorelle, irmã irmãs
"""


def _parse_words(table: str) -> dict[str, tuple[str, ...]]:
    entries = (line.split(": ") for line in table.strip().splitlines())
    return {english: tuple(words.split()) for english, words in entries}


def _parse_countable(table: str) -> dict[str, tuple[tuple[str, str], tuple[tuple[str, str], ...]]]:
    parsed = {}
    for line in table.strip().splitlines():
        english, others = line.split(": ")
        singular, plural = english.split()
        pairs = [entry.split() for entry in others.split(", ")]
        parsed[singular] = ((singular, plural), tuple((pair[0], pair[1]) for pair in pairs))
    return parsed


_PAIRS = _parse_countable(_COUNTABLE)

NUMBERS: dict[str, tuple[str, ...]] = _parse_words(_NUMBERS)
"""one..twelve -> the number in each language."""

COUNTABLE: dict[str, tuple[str, tuple[str, ...]]] = {
    singular: (english[1], tuple(plural for _, plural in others)) for singular, (english, others) in _PAIRS.items()
}
"""English singular -> (English plural, plural in each language)."""

WORDS: dict[str, tuple[str, ...]] = {
    **NUMBERS,
    **_parse_words(_COLOURS),
    **{singular: tuple(word for word, _ in others) for singular, (_, others) in _PAIRS.items()},
    **_parse_words(_MASS),
}
"""English word -> the word in each language."""

COLOURS: tuple[str, ...] = tuple(_parse_words(_COLOURS))

NAMES = phrases("""
    Anna, Ben, Clara, David, Emma, Felix, Grace, Henry, Iris, Jack, Kate, Leo, Maria, Nina, Oscar, Paul, Rosa, Sam,
    Tom, Vera
""")

PLAIN_WORDS: tuple[str, ...] = tuple(WORDS)
"""English words for the format task: those with a translation."""
